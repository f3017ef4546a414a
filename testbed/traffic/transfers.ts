/**
 * Mode `transfers`: downloads and uploads at once, each on a TCP connection of its own, and each
 * checked by its SHA-256: that of what came, or the one that the backend answers for what it got.
 */
import { createHash } from 'node:crypto';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { content, contentHash } from '../content.ts';
import { errorCode, Tally, type TransfersReport } from './report.ts';

/** Of the answer to an upload: a hash and a line end. */
const ANSWER_BYTES_MAX = 256;

export interface TransfersOptions {
  /** Of the backends' root, such as `http://10.83.100.1/`. */
  readonly url: string;
  /** Of each. */
  readonly bytes: number;
  readonly downloads: number;
  readonly uploads: number;
  /** For one of them. */
  readonly timeoutMs: number;
}

/** Never rejects: what goes wrong is in the report. */
export async function transfer(options: TransfersOptions): Promise<TransfersReport> {
  const { downloads, uploads, bytes } = options;
  const hash = contentHash(bytes);
  const errors = new Tally();
  const startedMs = performance.now();
  const all = async (count: number, one: Transfer): Promise<Tally> => {
    const tally = new Tally();
    const each = Array.from({ length: count }, async () => {
      try {
        tally.add(await one(options, hash));
      } catch (error) {
        errors.add(errorCode(error));
      }
    });
    await Promise.all(each);
    return tally;
  };
  const [downloaded, uploaded] = await Promise.all([
    all(downloads, download),
    all(uploads, upload),
  ]);
  return {
    kind: 'transfers',
    downloaded: downloaded.total(),
    uploaded: uploaded.total(),
    downloadsFrom: downloaded.toJSON(),
    uploadsTo: uploaded.toJSON(),
    bytes,
    errors: errors.toJSON(),
    durationMs: Math.round(performance.now() - startedMs),
  };
}

/** Returns the backend's name; rejects unless every byte was right. */
type Transfer = (options: TransfersOptions, hash: string) => Promise<string>;

async function download(options: TransfersOptions, expected: string): Promise<string> {
  const response = await ask(options, 'GET');
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  if (bytes !== options.bytes) throw new Error('wrong length');
  if (hash.digest('hex') !== expected) throw new Error('wrong content');
  return nameIn(response);
}

async function upload(options: TransfersOptions, expected: string): Promise<string> {
  const response = await ask(options, 'PUT');
  let answer = '';
  for await (const chunk of response as AsyncIterable<Buffer>) {
    answer += chunk.toString('latin1');
    if (answer.length > ANSWER_BYTES_MAX) throw new Error('answer too long');
  }
  if (answer.trim() !== expected) throw new Error('wrong hash');
  return nameIn(response);
}

async function ask(
  { url, bytes, timeoutMs }: TransfersOptions,
  method: 'GET' | 'PUT',
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const signal = AbortSignal.timeout(timeoutMs);
  const headers = method === 'PUT' ? { 'content-length': bytes } : {};
  const path = method === 'PUT' ? '/bytes' : `/bytes/${bytes}`;
  const request = httpRequest(new URL(path, url), { agent: false, method, headers, signal });
  request.once('response', resolve).once('error', reject);
  if (method === 'PUT') {
    // A failure is that of the request, which says it itself.
    pipeline(Readable.from(content(bytes)), request).catch(reject);
  } else {
    request.end();
  }
  const response = await promise;
  if (response.statusCode !== 200) {
    request.destroy();
    throw new Error(`status ${String(response.statusCode)}`);
  }
  return response;
}

function nameIn(response: IncomingMessage): string {
  return String(response.headers['server']);
}
