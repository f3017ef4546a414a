/**
 * The calls to gobgpd, typed. The only door to @grpc/grpc-js and proto-loader. Must never decide
 * anything: it asks, tells, and turns every failure into a SkeinError:
 *   gobgp_unreachable  no answer, or not in time: worth trying again
 *   gobgp_refused      an answer, but not from a daemon that speaks this API
 *   gobgp_rejected     the daemon did not accept this call
 */
import { fileURLToPath } from 'node:url';
import { Client, credentials, Metadata, status, type ServiceError } from '@grpc/grpc-js';
import { loadSync, type MethodDefinition } from '@grpc/proto-loader';
import { errorMessage, SkeinError } from '../lib/errors.ts';
import type {
  FamilyMessage,
  GlobalMessage,
  PathMessage,
  PeerMessage,
  PeerSettingsMessage,
} from './messages.ts';

/** Every call but the event stream is over by then, so a hung daemon is noticed. */
const CALL_TIMEOUT_MS = 3_000;

/** More answers than this to one question are an error: a node holds a few thousand routes at most. */
const LIST_ANSWERS_MAX = 200_000;

const CHANNEL_OPTIONS = {
  // A sidecar is never behind a proxy, and a lost one must not be remembered from the last client.
  'grpc.enable_http_proxy': 0,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
};

const PROTO_FILE = fileURLToPath(new URL('../../proto/gobgp.proto', import.meta.url));

/** With `reject` as the default: what was injected here is let in, and nothing that peers send. */
const LOCAL_ONLY_POLICY = {
  name: 'skein-import',
  statements: [
    {
      name: 'skein-import-local',
      conditions: { routeType: 'ROUTE_TYPE_LOCAL' },
      actions: { routeAction: 'ROUTE_ACTION_ACCEPT' },
    },
  ],
};

type Method = MethodDefinition<object, object>;

export class GobgpClient {
  readonly #target: string;
  readonly #client: Client;

  /** `target` is a gRPC name, such as `127.0.0.1:50051` or `unix:/run/skein/gobgpd.sock`. */
  constructor(target: string) {
    this.#target = target;
    try {
      this.#client = new Client(target, credentials.createInsecure(), CHANNEL_OPTIONS);
    } catch (error) {
      const text = `gobgpd: '${target}' is no gRPC target: use host:port or unix:/path`;
      throw new SkeinError('gobgp_refused', text, { cause: error });
    }
  }

  async getGlobal(): Promise<GlobalMessage> {
    const answer = await this.#call<{ global: GlobalMessage | null }>('GetBgp', {});
    return answer.global ?? { asn: 0, routerId: '' };
  }

  async startBgp(as: number, routerId: string): Promise<void> {
    await this.#call('StartBgp', { global: { asn: as, routerId } });
  }

  /** Idempotent. Skein is no router: what peers send would only cost memory, here and there. */
  async importNothing(): Promise<void> {
    const { name } = LOCAL_ONLY_POLICY;
    const held = await this.#list('ListPolicy', { name });
    if (held.length === 0) await this.#call('AddPolicy', { policy: LOCAL_ONLY_POLICY });
    await this.#call('SetPolicyAssignment', {
      assignment: {
        name: 'global',
        direction: 'POLICY_DIRECTION_IMPORT',
        policies: [{ name }],
        defaultAction: 'ROUTE_ACTION_REJECT',
      },
    });
  }

  async addPeer(peer: PeerSettingsMessage): Promise<void> {
    await this.#call('AddPeer', { peer });
  }

  async updatePeer(peer: PeerSettingsMessage): Promise<void> {
    await this.#call('UpdatePeer', { peer });
  }

  async deletePeer(address: string): Promise<void> {
    await this.#call('DeletePeer', { address });
  }

  async listPeers(): Promise<readonly PeerMessage[]> {
    const answers = await this.#list<{ peer: PeerMessage | null }>('ListPeer', {
      enableAdvertised: true,
    });
    return answers.flatMap(({ peer }) => (peer === null ? [] : [peer]));
  }

  /** Adds a route, or replaces the one to the same prefix. */
  async addPath(path: PathMessage): Promise<void> {
    await this.#call('AddPath', { tableType: 'TABLE_TYPE_GLOBAL', path });
  }

  /** The whole path is wanted, though only prefix and identifier say which one it is. */
  async deletePath(path: PathMessage): Promise<void> {
    await this.#call('DeletePath', { tableType: 'TABLE_TYPE_GLOBAL', path });
  }

  /** The routes of one family that were injected through the API, by whomever. */
  async listLocalPaths(family: FamilyMessage): Promise<readonly PathMessage[]> {
    const answers = await this.#list<{
      destination: { paths: readonly PathMessage[] } | null;
    }>('ListPath', { tableType: 'TABLE_TYPE_GLOBAL', family });
    return answers
      .flatMap(({ destination }) => destination?.paths ?? [])
      .filter((path) => path.neighborIp === '');
  }

  /**
   * Calls `onEvent` when the state of any peer may have changed and `onEnd` once when the daemon
   * is lost, even while nothing happens. Has no deadline: its end is the message. The returned
   * function ends it silently.
   */
  watchPeers(onEvent: () => void, onEnd: (reason: SkeinError) => void): () => void {
    const { path, requestSerialize, responseDeserialize } = method('WatchEvent');
    const stream = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { peer: {} },
    );
    let open = true;
    const end = (error: unknown) => {
      if (!open) return;
      open = false;
      onEnd(this.#failure('WatchEvent', error));
    };
    stream.on('data', onEvent);
    stream.on('error', end);
    stream.on('end', () => {
      end(new Error('the event stream ended'));
    });
    return () => {
      open = false;
      stream.cancel();
    };
  }

  close(): void {
    this.#client.close();
  }

  /** The cast is the promise of the .proto file: proto-loader decodes to these shapes only. */
  #call<Answer>(name: string, request: object): Promise<Answer> {
    const { path, requestSerialize, responseDeserialize } = method(name);
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + CALL_TIMEOUT_MS },
        (error, answer) => {
          if (error !== null) reject(this.#failure(name, error));
          else resolve(answer as Answer);
        },
      );
    });
  }

  async #list<Answer>(name: string, request: object): Promise<readonly Answer[]> {
    const { path, requestSerialize, responseDeserialize } = method(name);
    const stream = this.#client.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      new Metadata(),
      { deadline: Date.now() + CALL_TIMEOUT_MS },
    );
    const answers: Answer[] = [];
    try {
      for await (const answer of stream) {
        if (answers.length === LIST_ANSWERS_MAX)
          throw new Error(`over ${LIST_ANSWERS_MAX} answers`);
        answers.push(answer as Answer);
      }
    } catch (error) {
      throw this.#failure(name, error);
    }
    return answers;
  }

  #failure(name: string, error: unknown): SkeinError {
    const code = (error as Partial<ServiceError>).code;
    const details = (error as Partial<ServiceError>).details ?? errorMessage(error);
    const text = details.replace(/ *Resolution note: *$/, '');
    const where = `gobgpd at ${this.#target}`;
    switch (code) {
      case status.UNIMPLEMENTED:
        return new SkeinError(
          'gobgp_refused',
          `${where} does not speak the API of GoBGP 4 (${text}): install gobgpd 4.6 or newer`,
          { cause: error },
        );
      case status.UNAVAILABLE:
      case status.DEADLINE_EXCEEDED:
      case status.CANCELLED:
      case undefined:
        return new SkeinError('gobgp_unreachable', `${where}: ${name}: ${text}`, { cause: error });
      default:
        return new SkeinError('gobgp_rejected', `${where}: ${name}: ${text}`, { cause: error });
    }
  }
}

let methods: Readonly<Record<string, Method>> | undefined;

/** The .proto file is read when first needed, so that importing this module costs nothing. */
function method(name: string): Method {
  methods ??= loadSync(PROTO_FILE, { longs: Number, enums: String, defaults: true, oneofs: true })[
    'api.GoBgpService'
  ] as unknown as Readonly<Record<string, Method>>;
  const found = methods[name];
  if (found === undefined) throw new TypeError(`${PROTO_FILE} has no method ${name}`);
  return found;
}
