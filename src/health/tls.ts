/** TLS on a connected socket of a check. The certificate counts only where the check verifies it. */
import { isIP, type Socket } from 'node:net';
import {
  checkServerIdentity,
  connect,
  createSecureContext,
  getCACertificates,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';

export interface TlsOptions {
  /** Name or address to ask for; undefined: none. */
  readonly name: string | undefined;
  /** Name or address that the certificate must be for. */
  readonly identity: string;
  readonly verify: boolean;
  readonly protocol: 'http/1.1' | 'h2';
}

/** Contexts, made once each: reading and parsing the roots costs more than a hundred checks. */
export class TlsClient {
  readonly #roots: readonly string[] | undefined;
  #verifying: SecureContext | undefined;
  #trusting: SecureContext | undefined;

  /** `roots`: certificates (PEM) to verify against instead of the system's. */
  constructor(roots?: readonly string[]) {
    this.#roots = roots;
  }

  /** Begins the handshake; `onSecure` is called once it is through. */
  secure(socket: Socket, options: TlsOptions, onSecure: () => void): TLSSocket {
    const { name, identity, verify, protocol } = options;
    const secure = connect({
      socket,
      secureContext: this.#contextFor(verify),
      // RFC 6066, section 3: an address is no server name.
      ...(name === undefined || isIP(name) > 0 ? {} : { servername: name }),
      ALPNProtocols: [protocol],
      rejectUnauthorized: verify,
      checkServerIdentity: (_host, certificate) => checkServerIdentity(identity, certificate),
    });
    // Not at once: Node 24 crashes where the socket below is reset inside of this event.
    secure.once('secureConnect', () => setImmediate(onSecure));
    return secure;
  }

  #contextFor(verify: boolean): SecureContext {
    const minVersion = 'TLSv1.2';
    if (!verify) return (this.#trusting ??= createSecureContext({ ca: [], minVersion }));
    this.#verifying ??= createSecureContext({
      ca: [...(this.#roots ?? getCACertificates('system'))],
      minVersion,
    });
    return this.#verifying;
  }
}

/** An error of OpenSSL, whatever was under way. */
export function isTlsError({ code }: NodeJS.ErrnoException): boolean {
  return code === 'EPROTO' || code?.startsWith('ERR_SSL_') === true;
}

/** The text of OpenSSL without its source lines, and without the advice that Node adds to it. */
export function tlsText(error: NodeJS.ErrnoException & { readonly reason?: unknown }): string {
  const text = typeof error.reason === 'string' ? error.reason : error.message;
  return `TLS failed: ${text.replace(/; if the root CA is installed locally.*$/s, '')}`;
}
