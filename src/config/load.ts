/**
 * Texts to configuration, or to every problem in them with its line. `loadTexts` is pure;
 * `loadFiles` is the one place in this folder that reads files.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { dirname, resolve as resolvePath } from 'node:path';
import { getSystemErrorMessage } from 'node:util';
import type { z } from 'zod';
import { errorMessage } from '../lib/errors.ts';
import { checksWithoutReports } from './cross-check-reports.ts';
import { crossCheck } from './cross-check.ts';
import { findingsOf, wording } from './issues.ts';
import { orderProblems, type DocumentKind, type Report } from './problems.ts';
import { resolve, resolveCluster } from './resolve.ts';
import {
  clusterDocument,
  clusterRemains,
  nodeDocument,
  type ClusterDocument,
  type ClusterRemains,
} from './schema.ts';
import { readSource, type Source, type SourceText } from './source.ts';
import type { ClusterResult, ConfigProblem, ConfigResult } from './types.ts';

/** Of either document. */
export const FILE_BYTES_MAX = 4 * 1024 * 1024;

const SECRET_FILE_BYTES_MAX = 4096;

/** What the kernel takes as a TCP MD5 key (TCP_MD5SIG_MAXKEYLEN). */
const SECRET_BYTES_MAX = 80;

export type ReadResult =
  { readonly ok: true; readonly text: string } | { readonly ok: false; readonly message: string };

/** Reads a file that the cluster document names. */
export type ReadSecret = (path: string) => ReadResult;

/**
 * Pure. Either a configuration, or every problem of both documents in the order of their lines.
 * Relative paths in the cluster document start from `folder`, an absolute path; without it they
 * stay as they are written.
 */
export function loadTexts(
  cluster: SourceText,
  node: SourceText,
  readSecret: ReadSecret,
  folder?: string,
): ConfigResult {
  const sources = { cluster: readSource(cluster), node: readSource(node) };
  const found: Record<DocumentKind, ConfigProblem[]> = {
    cluster: [...sources.cluster.problems],
    node: [...sources.node.problems],
  };
  const report: Report = (document, finding) => {
    found[document].push(sources[document].place(finding));
  };
  const clusterFits = fit(clusterDocument, sources, 'cluster', report);
  const nodeFits = fit(nodeDocument, sources, 'node', report);
  const remains = clusterFits ?? remainsOf(sources.cluster);
  const locate = (path: string) => (folder === undefined ? path : resolvePath(folder, path));
  const passwords = readPasswords(remains, (path) => readSecret(locate(path)), report);
  crossCheck(remains, nodeFits, report);
  if (clusterFits !== undefined) checksWithoutReports(clusterFits, report);

  const problems = [...orderProblems(found.cluster), ...orderProblems(found.node)];
  if (problems.length > 0 || clusterFits === undefined || nodeFits === undefined) {
    return { ok: false, problems };
  }
  // Their keys are read by those who use them.
  const files = { passwords, ...keyFilesOf(clusterFits, locate) };
  return { ok: true, config: resolve(clusterFits, nodeFits, files) };
}

function keyFilesOf({ sync, reports }: ClusterDocument, locate: (path: string) => string) {
  return {
    keyFiles: (sync?.key_files ?? []).map(locate),
    reportKeyFiles: (reports?.key_files ?? []).map(locate),
  };
}

/**
 * Never throws: a file that cannot be read is a problem too. `nodePart`: its path, or the text that a
 * process has read before and keeps to.
 */
export function loadFiles(clusterPath: string, nodePart: string | SourceText): ConfigResult {
  const problems: ConfigProblem[] = [];
  const read = (file: string): SourceText => {
    const result = readText(file, FILE_BYTES_MAX);
    if (result.ok) return { file, text: result.text };
    problems.push({ file, line: 0, column: 0, path: '', message: result.message });
    return { file, text: '' };
  };
  const cluster = read(clusterPath);
  const node = typeof nodePart === 'string' ? read(nodePart) : nodePart;
  if (problems.length > 0) return { ok: false, problems };
  // A relative path is meant from where the document is, not from where the process was started.
  const folder = dirname(resolvePath(clusterPath));
  return loadTexts(cluster, node, (path) => readText(path, SECRET_FILE_BYTES_MAX), folder);
}

/**
 * The cluster document alone, for a host that is no node; never throws. The files that it names are
 * not read: they are the nodes' business.
 */
export function loadClusterFile(path: string): ClusterResult {
  const result = readText(path, FILE_BYTES_MAX);
  if (!result.ok) {
    const problem = { file: path, line: 0, column: 0, path: '', message: result.message };
    return { ok: false, problems: [problem] };
  }
  const cluster = readSource({ file: path, text: result.text });
  const sources = { cluster, node: readSource({ file: '', text: '' }) };
  const found = [...cluster.problems];
  const report: Report = (document, finding) => {
    if (document === 'cluster') found.push(cluster.place(finding));
  };
  const fits = fit(clusterDocument, sources, 'cluster', report);
  crossCheck(fits ?? remainsOf(cluster), undefined, report);
  if (fits !== undefined) checksWithoutReports(fits, report);
  if (found.length > 0 || fits === undefined) return { ok: false, problems: orderProblems(found) };
  const files = keyFilesOf(fits, (name) => resolvePath(dirname(resolvePath(path)), name));
  return { ok: true, cluster: resolveCluster(fits, { passwords: new Map(), ...files }) };
}

/** The document as its schema sees it; undefined, and everything reported, where it does not fit. */
function fit<T extends z.ZodType>(
  schema: T,
  sources: Readonly<Record<DocumentKind, Source>>,
  document: DocumentKind,
  report: Report,
): z.output<T> | undefined {
  const source = sources[document];
  if (!source.usable) return undefined;
  const result = schema.safeParse(source.value, { error: wording });
  if (result.success) return result.data;
  for (const finding of findingsOf(result.error.issues)) report(document, finding);
  return undefined;
}

function remainsOf(source: Source): ClusterRemains {
  const result = clusterRemains.safeParse(source.value);
  if (source.usable && result.success) return result.data;
  return {
    bgp: undefined,
    sync: undefined,
    reports: undefined,
    backends: undefined,
    services: undefined,
    vips: undefined,
  };
}

/** TCP MD5 keys by path. Their text never becomes part of a message. */
function readPasswords(
  cluster: ClusterRemains,
  readSecret: ReadSecret,
  report: Report,
): Map<string, string> {
  const passwords = new Map<string, string>();
  for (const [index, peer] of (cluster.bgp?.peers ?? []).entries()) {
    if (peer?.password_file === undefined) continue;
    const result = readSecret(peer.password_file);
    const problem = result.ok ? secretProblem(result.text.trim()) : result.message;
    if (problem !== undefined) {
      const message = `${peer.password_file}: ${problem}`;
      report('cluster', { path: ['bgp', 'peers', index, 'password_file'], message });
    } else if (result.ok) {
      passwords.set(peer.password_file, result.text.trim());
    }
  }
  return passwords;
}

function secretProblem(secret: string): string | undefined {
  if (secret === '') return 'holds no key';
  if (/[\x00-\x1f\x7f]/.test(secret)) return 'must hold a key of one line of printable text';
  const bytes = Buffer.byteLength(secret);
  if (bytes > SECRET_BYTES_MAX) return `holds a key of ${bytes} bytes; at most ${SECRET_BYTES_MAX}`;
  return undefined;
}

/** A regular file of UTF-8 text, of at most `bytesMax` bytes. */
function readText(path: string, bytesMax: number): ReadResult {
  try {
    // Without O_NONBLOCK a named pipe would stop the whole process.
    const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (!fstatSync(file).isFile()) return { ok: false, message: 'is not a regular file' };
      const bytes = readBytes(file, bytesMax);
      if (bytes === undefined) return { ok: false, message: `has more than ${bytesMax} bytes` };
      return { ok: true, text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
    } finally {
      closeSync(file);
    }
  } catch (error) {
    return { ok: false, message: `cannot be read: ${reasonOf(error)}` };
  }
}

/** Everything up to the end of the file; undefined when that is further than `bytesMax`. */
function readBytes(file: number, bytesMax: number): Uint8Array | undefined {
  const buffer = new Uint8Array(Math.min(fstatSync(file).size, bytesMax) + 1);
  let length = 0;
  while (length < buffer.length) {
    const count = readSync(file, buffer, length, buffer.length - length, null);
    if (count === 0) return buffer.subarray(0, length);
    length += count;
  }
  return undefined;
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'errno' in error ? error.errno : undefined;
  return typeof code === 'number' ? getSystemErrorMessage(code) : errorMessage(error);
}
