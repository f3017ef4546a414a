/** `skein flows`: established flows of a node, and which peers know them, as a table or as JSON. */
import { formatEndpoint } from '../model/address.ts';
import type { FlowAtPeer, FlowList, ListedFlow } from '../model/flow-query.ts';
import { askNode, type AskOptions } from './ask.ts';
import { columns, printable, span } from './text.ts';

/** Filters as they were typed: the node checks them. */
export interface FlowsOptions extends AskOptions {
  readonly client?: string;
  readonly vip?: string;
  readonly port?: string;
  readonly protocol?: string;
  readonly backend?: string;
  readonly state?: string;
  readonly limit?: string;
}

/** One list may wait for another one, each of which may take seconds. */
const REQUEST_TIMEOUT_MS = 15_000;
const FILTERS = ['client', 'vip', 'port', 'protocol', 'backend', 'state', 'limit'] as const;
const COLUMNS = ['CLIENT', 'DESTINATION', 'BACKEND', 'STATE', 'AGE', 'IDLE', 'GUESS', 'KNOWN AT'];
/** More peers than this are counted and not named. */
const NAMED_PEERS_MAX = 4;

export async function showFlows(options: FlowsOptions): Promise<void> {
  const list = (await askNode(options.url, flowsPath(options), REQUEST_TIMEOUT_MS)) as FlowList;
  console.log(options.json ? JSON.stringify(list, undefined, 2) : describeFlows(list).join('\n'));
}

/** Pure. The path of the question on the console. */
export function flowsPath(options: Omit<FlowsOptions, 'url' | 'json'>): string {
  const query = new URLSearchParams();
  for (const filter of FILTERS) {
    const value = options[filter];
    if (value !== undefined) query.set(filter, value);
  }
  return query.size === 0 ? 'api/v1/flows' : `api/v1/flows?${query.toString()}`;
}

/** Pure. A line for each flow, and at the end how many would survive this node. */
export function describeFlows(list: FlowList): string[] {
  const rows = list.flows.map(cells);
  return [
    ...(rows.length === 0 ? [] : [...columns([COLUMNS, ...rows], COLUMNS.length), '']),
    ...describeCut(list),
    describeSurvival(list),
  ];
}

function cells(flow: ListedFlow): string[] {
  return [
    formatEndpoint(flow.client, flow.clientPort),
    `${flow.protocol}/${formatEndpoint(flow.vip, flow.port)}`,
    flow.backend,
    flow.state,
    span(flow.openedAgoMs),
    span(flow.seenAgoMs),
    flow.guess ? 'yes' : '-',
    describeKnowledge(flow.knownAt),
  ];
}

function describeKnowledge(knownAt: readonly FlowAtPeer[]): string {
  if (knownAt.length === 0) return '-';
  if (knownAt.length > NAMED_PEERS_MAX) return countKnowledge(knownAt);
  return knownAt
    .map(({ peer, knowledge }) =>
      knowledge === 'known' ? printable(peer) : `${printable(peer)} ${knowledge}`,
    )
    .join(', ');
}

function countKnowledge(knownAt: readonly FlowAtPeer[]): string {
  const kinds = ['known', 'differs', 'unsettled'] as const;
  const counts = kinds.map((kind) => ({
    kind,
    count: knownAt.filter(({ knowledge }) => knowledge === kind).length,
  }));
  return counts
    .filter(({ count }) => count > 0)
    .map(({ kind, count }) => `${count} ${kind}`)
    .join(', ');
}

function describeCut({ flows, matched, scanned, truncated, complete }: FlowList): string[] {
  if (!complete) return [`the table is large: only ${scanned} of its flows were looked at`];
  return truncated ? [`${flows.length} of ${matched} flows are listed`] : [];
}

function describeSurvival({ survival, matched }: FlowList): string {
  if (survival === null) {
    return `${matched} flows; flow sync is not configured, so what they would survive is not known`;
  }
  const { survive, mayNot, unsettled } = survival;
  const rest = [
    ...(mayNot === 0 ? [] : [`${mayNot} may not`]),
    ...(unsettled === 0 ? [] : [`${unsettled} cannot be told yet`]),
  ];
  const would = `${survive} of ${matched} flows would survive this node`;
  return rest.length === 0 ? would : `${would} (${rest.join(', ')})`;
}
