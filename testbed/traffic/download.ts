/**
 * Mode `download`: a TCP connection over which a small page is asked for, and later, when told to, a
 * large one. Checks that exactly the bytes of content.ts come, from the backend that began.
 */
import { createHash } from 'node:crypto';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { contentHash } from '../content.ts';
import { errorCode, type DownloadReady, type DownloadReport } from './report.ts';

/** Of the small page: the name of a backend. */
const NAME_BYTES_MAX = 4096;

export interface DownloadOptions {
  /** Of the backend's root, such as `http://10.83.100.1/`. */
  readonly url: string;
  readonly bytes: number;
  readonly sourceAddress?: string | undefined;
  readonly sourcePort?: number | undefined;
}

export class Download {
  readonly #options: DownloadOptions;
  readonly #agent: Agent;
  #state: DownloadReport['state'] = 'idle';
  #bytes = 0;
  #error: string | null = null;
  #startedMs = 0;
  #endedMs = 0;

  constructor(options: DownloadOptions) {
    this.#options = options;
    // One socket, or the large page could come by another connection than the small one.
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1 });
  }

  /** Rejects when the small page cannot be had. */
  async open(): Promise<DownloadReady> {
    const { response, port } = await this.#get('/');
    let text = '';
    for await (const chunk of response as AsyncIterable<Buffer>) {
      text += chunk.toString('latin1');
      if (text.length > NAME_BYTES_MAX) throw new Error('name too long');
    }
    return { kind: 'opened', backend: text.trim(), port };
  }

  /** Never rejects: what goes wrong is in the report. */
  async start(): Promise<void> {
    this.#state = 'running';
    this.#startedMs = performance.now();
    try {
      await this.#receive();
    } catch (error) {
      this.#error = errorCode(error);
    }
    this.#endedMs = performance.now();
    this.#state = this.#error === null ? 'done' : 'failed';
  }

  report(): DownloadReport {
    const untilMs = this.#endedMs || performance.now();
    return {
      kind: 'download',
      state: this.#state,
      bytes: this.#bytes,
      error: this.#error,
      durationMs: this.#startedMs === 0 ? 0 : Math.round(untilMs - this.#startedMs),
    };
  }

  close(): void {
    this.#agent.destroy();
  }

  async #receive(): Promise<void> {
    const { bytes } = this.#options;
    const { response, isSameConnection } = await this.#get(`/bytes/${bytes}`);
    if (!isSameConnection) throw new Error('another connection');
    const hash = createHash('sha256');
    for await (const chunk of response as AsyncIterable<Buffer>) {
      this.#bytes += chunk.length;
      hash.update(chunk);
    }
    if (this.#bytes !== bytes) throw new Error('wrong length');
    if (hash.digest('hex') !== contentHash(bytes)) throw new Error('wrong content');
  }

  async #get(
    path: string,
  ): Promise<{ response: IncomingMessage; port: number; isSameConnection: boolean }> {
    const { url, sourceAddress, sourcePort } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const request = httpRequest(new URL(path, url), {
      agent: this.#agent,
      ...(sourceAddress === undefined ? {} : { localAddress: sourceAddress }),
      ...(sourcePort === undefined ? {} : { localPort: sourcePort }),
    });
    request.once('response', resolve).once('error', reject).end();
    const response = await promise;
    if (response.statusCode !== 200) throw new Error(`status ${String(response.statusCode)}`);
    const port = response.socket.localPort ?? 0;
    return { response, port, isSameConnection: request.reusedSocket };
  }
}
