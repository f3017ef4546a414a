/**
 * Reads facts about this server. The only part of the doctor that touches the machine, and it must
 * never change anything: every command only shows, is bounded in time and output, and runs once.
 */
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { familyOf } from '../model/address.ts';
import { parseFirewall, type Firewall } from './doctor-firewall.ts';
import type { RouteLookup, RouteQuestion, ServerState } from './doctor-facts.ts';
import {
  parseAddresses,
  parseDefaultRoutes,
  parseFou,
  parseLinks,
  parseListeners,
  parseNeighbours,
  parseRouteAnswer,
} from './doctor-parse.ts';

const COMMAND_TIMEOUT_MS = 5_000;
const COMMAND_BYTES_MAX = 16 << 20;
/** Of a server with more interfaces, the settings of the first ones are read. */
const LINKS_MAX = 1024;
/** A document may name more; what is not looked up is not judged. */
const LOOKUPS_MAX = 512;

interface Shown {
  /** Undefined: the command failed, was missing, took too long or said too much. */
  readonly text: string | undefined;
  readonly failure: string;
}

export async function readServer(isRoot: boolean): Promise<ServerState> {
  const unseen: string[] = [];
  const json = async (what: string, program: string, args: readonly string[]) => {
    const { text, failure } = await show(program, args);
    const value = text === undefined ? undefined : parseJson(text);
    if (value === undefined) unseen.push(`${what}: ${program} ${args.join(' ')}: ${failure}`);
    return value;
  };
  const [devices, routes4, routes6, neighbours4, neighbours6] = await Promise.all([
    json('interfaces and addresses', 'ip', ['-j', '-d', 'address', 'show']),
    json('IPv4 routes', 'ip', ['-j', '-4', 'route', 'show', 'default']),
    json('IPv6 routes', 'ip', ['-j', '-6', 'route', 'show', 'default']),
    json('IPv4 neighbours', 'ip', ['-j', '-4', 'neigh', 'show']),
    json('IPv6 neighbours', 'ip', ['-j', '-6', 'neigh', 'show']),
  ]);
  const links = parseLinks(devices);
  const [fou, listeners, firewall] = await Promise.all([
    readFou(),
    readListeners(unseen),
    readFirewall(isRoot, unseen),
  ]);
  if (links.some(({ xdp }) => xdp.some(({ program }) => program === undefined)))
    unseen.push('whose XDP programs there are: only root sees their names');
  if (existsSync('/proc/net/ip_tables_names') && legacyTables())
    unseen.push('the rules of iptables-legacy: they are not looked at (iptables-legacy-save)');
  return {
    links,
    addresses: parseAddresses(devices),
    defaultRoutes: [...parseDefaultRoutes(routes4, 'ipv4'), ...parseDefaultRoutes(routes6, 'ipv6')],
    neighbours: [...parseNeighbours(neighbours4), ...parseNeighbours(neighbours6)],
    fouPorts: fou,
    tunnelModules: readTunnelModules(),
    sysctls: readSysctls(links.slice(0, LINKS_MAX).map(({ name }) => name)),
    listeners,
    firewall,
    unseen,
  };
}

/** The kernel's own answers, which know of rules and tables. Nothing is sent. */
export async function lookUpRoutes(questions: readonly RouteQuestion[]): Promise<RouteLookup[]> {
  const lookups: RouteLookup[] = [];
  for (const question of questions.slice(0, LOOKUPS_MAX)) {
    const { to, from } = question;
    const family = familyOf(to) === 'ipv6' ? '-6' : '-4';
    const source = from === undefined ? [] : ['from', from];
    const { text } = await show('ip', ['-j', family, 'route', 'get', to, ...source]);
    lookups.push({ ...question, answer: parseRouteAnswer(parseJson(text ?? '[]')) });
  }
  return lookups;
}

/** Kernels without fou have no answer, which means that there is no such port. */
async function readFou() {
  const answers = await Promise.all([
    show('ip', ['-j', 'fou', 'show']),
    show('ip', ['-j', '-6', 'fou', 'show']),
  ]);
  const ports = answers.flatMap(({ text }) => parseFou(parseJson(text ?? '[]')));
  return [...new Map(ports.map((port) => [JSON.stringify(port), port])).values()];
}

async function readListeners(unseen: string[]) {
  const { text, failure } = await show('ss', ['-H', '-l', '-n', '-t', '-u', '-p']);
  if (text !== undefined) return parseListeners(text);
  unseen.push(`who listens: ss: ${failure}`);
  return undefined;
}

async function readFirewall(isRoot: boolean, unseen: string[]): Promise<Firewall | undefined> {
  if (!isRoot) {
    unseen.push('the firewall: only root sees the rules of nft');
    return undefined;
  }
  const { text, failure } = await show('nft', ['-j', 'list', 'ruleset']);
  const ruleset = text === undefined ? undefined : parseJson(text);
  if (ruleset !== undefined) return parseFirewall(ruleset);
  unseen.push(`the firewall: nft: ${failure}`);
  return undefined;
}

function legacyTables(): boolean {
  try {
    return readFileSync('/proc/net/ip_tables_names', 'utf8').trim() !== '';
  } catch {
    // Root's alone; said of the firewall already.
    return false;
  }
}

const IPV4_SETTINGS = ['arp_ignore', 'arp_announce', 'rp_filter'];

function readSysctls(names: readonly string[]): Record<string, number> {
  const paths = ['all', ...names].flatMap((name) => [
    ...IPV4_SETTINGS.map((key) => `ipv4/conf/${name}/${key}`),
    `ipv6/conf/${name}/disable_ipv6`,
  ]);
  return Object.fromEntries(
    paths.flatMap((path) => {
      try {
        const value = Number(readFileSync(`/proc/sys/net/${path}`, 'utf8'));
        return Number.isInteger(value) ? [[path, value]] : [];
      } catch {
        // An interface that has just gone, or a kernel without IPv6.
        return [];
      }
    }),
  );
}

const TUNNEL_MODULES = ['ipip', 'sit', 'ip_gre', 'ip6_gre', 'ip6_tunnel', 'fou', 'fou6'];

/** Loaded, built in, or there to be loaded. */
function readTunnelModules(): string[] {
  const folder = `/lib/modules/${release()}`;
  const lists = ['modules.builtin', 'modules.dep'].map((name) => {
    try {
      return readFileSync(`${folder}/${name}`, 'utf8');
    } catch {
      return '';
    }
  });
  return TUNNEL_MODULES.filter(
    (name) =>
      existsSync(`/sys/module/${name}`) ||
      lists.some((list) => new RegExp(`/${name}\\.ko`).test(list)),
  );
}

async function show(program: string, args: readonly string[]): Promise<Shown> {
  return await new Promise((resolve) => {
    execFile(
      program,
      args,
      {
        timeout: COMMAND_TIMEOUT_MS,
        maxBuffer: COMMAND_BYTES_MAX,
        killSignal: 'SIGKILL',
        env: { ...process.env, LC_ALL: 'C' },
      },
      (error, out, said) => {
        const failure = error === null ? '' : (said.trim().split('\n')[0] ?? '') || error.message;
        resolve({ text: error === null ? out : undefined, failure });
      },
    ).stdin?.end();
  });
}

/** Some commands print nothing where they have nothing to show. */
function parseJson(text: string): unknown {
  if (text.trim() === '') return [];
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
