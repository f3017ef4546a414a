/** Backends that report their own health: documents, keys, the reporter as a process, and datagrams. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { formatKeyFile } from '../src/reports/key-file.ts';
import { reporterKey } from '../src/reports/seal.ts';
import type { Document } from './config.ts';
import type { DaemonSpec } from './daemon.ts';
import { run } from './exec.ts';
import { FILES } from './places.ts';
import type { BackendSite, Site } from './topology.ts';

export const REPORTS_PORT = 7484;
export const REPORTS_GROUP = '239.83.75.79';

export interface ReportedOptions {
  /** Where reports are sent, as the document has it; default: the multicast group. */
  readonly to?: Document;
  readonly silenceMs: number;
}

/** A file with a key of its own, and the key. */
export function writeReportKey(): { readonly path: string; readonly key: Uint8Array } {
  mkdirSync(FILES, { recursive: true });
  const path = `${FILES}/reports.key`;
  const key = randomBytes(32);
  writeFileSync(path, `${key.toString('base64')}\n`, { mode: 0o600 });
  return { path, key };
}

/** A file with what one backend signs with, which is not the cluster's key. Returns its path. */
export function writeReporterKey(site: BackendSite, cluster: string, master: Uint8Array): string {
  const path = `${FILES}/${site.name}-reports.key`;
  const addresses = [site.ipv4, site.ipv6];
  const key = reporterKey(master, cluster, addresses);
  writeFileSync(path, formatKeyFile({ key, addresses }), { mode: 0o600 });
  return path;
}

/** The document with reports for the only checks. */
export function reported(keyFile: string, { to, silenceMs }: ReportedOptions) {
  const checks = [{ type: 'report', silence_ms: silenceMs, interval_ms: 500 }];
  const where = to ?? { group: `${REPORTS_GROUP}:${REPORTS_PORT}` };
  return (document: Document): Document => ({
    ...document,
    reports: { ...where, key_files: [keyFile] },
    services: (document['services'] as readonly Document[]).map((each) => ({ ...each, checks })),
  });
}

/** `skein backend report` on a backend. Ready at once: it listens nowhere. */
export function reporterSpec(site: BackendSite, args: readonly string[]): DaemonSpec {
  return {
    name: `${site.name}-reporter`,
    namespace: site.namespace,
    command: [
      process.execPath,
      'src/main.ts',
      'backend',
      'report',
      '--name',
      site.name,
      '--interval',
      '500ms',
      ...args,
    ],
    listens: [],
  };
}

/** The first `count` datagrams that a host of the LAN hears in the group. */
export async function recordReports(at: Site, count: number): Promise<Buffer[]> {
  const script = `
    const socket = require('node:dgram').createSocket({ type: 'udp4', reuseAddr: true });
    let left = ${count};
    socket.on('message', (datagram) => {
      console.log(datagram.toString('hex'));
      left -= 1;
      if (left === 0) socket.close();
    });
    socket.bind(${REPORTS_PORT}, '${REPORTS_GROUP}', () => {
      socket.addMembership('${REPORTS_GROUP}', '${at.ipv4}');
    });`;
  const output = await run([process.execPath, '-e', script], { namespace: at.namespace });
  return output
    .trim()
    .split('\n')
    .map((line) => Buffer.from(line, 'hex'));
}

/** Sends datagrams to the group as a host of the LAN. */
export async function sendReports(from: Site, datagrams: readonly Uint8Array[]): Promise<void> {
  const script = `
    const socket = require('node:dgram').createSocket('udp4');
    const lines = require('node:fs').readFileSync(0, 'latin1').trim().split('\\n');
    let left = lines.length;
    socket.bind(0, '${from.ipv4}', () => {
      socket.setMulticastInterface('${from.ipv4}');
      for (const line of lines) {
        socket.send(Buffer.from(line, 'hex'), ${REPORTS_PORT}, '${REPORTS_GROUP}', () => {
          left -= 1;
          if (left === 0) socket.close();
        });
      }
    });`;
  const input = datagrams.map((each) => Buffer.from(each).toString('hex')).join('\n');
  await run([process.execPath, '-e', script], { namespace: from.namespace, input });
}
