/** `/api/v1/flows`: established flows by filter. The parameters are hostile until read here. */
import type { Context } from 'hono';
import { parseAddress, type Address } from '../../model/address.ts';
import {
  FLOW_STATES,
  LISTED_FLOWS_DEFAULT,
  LISTED_FLOWS_MAX,
  type FlowQuery,
} from '../../model/flow-query.ts';
import { refuse } from '../errors.ts';
import type { View } from '../view.ts';

type Parsed<T> = { readonly value: T } | { readonly problem: string };

export async function answerFlows(c: Context, view: View): Promise<Response> {
  if (view.flows === undefined) return refuse(c, 'not_found', 'this node lists no flows');
  const parsed = parseFlowQuery(c.req.queries());
  if ('problem' in parsed) return refuse(c, 'invalid_query', parsed.problem);
  const list = await view.flows(parsed.value);
  if (list !== 'busy') return c.json(list);
  c.header('Retry-After', '1');
  return refuse(c, 'busy', 'others list flows at this moment: ask again in a second');
}

/** Every parameter at most once and none that is not known: a typo would list everything. */
export function parseFlowQuery(given: Readonly<Record<string, string[]>>): Parsed<FlowQuery> {
  const problems: string[] = [];
  const left = new Map(Object.entries(given));
  const take = <T>(name: string, parse: (text: string) => T | undefined, want: string) => {
    const texts = left.get(name) ?? [];
    left.delete(name);
    const [text] = texts;
    if (text === undefined) return undefined;
    const value = texts.length === 1 ? parse(text) : undefined;
    if (value === undefined) problems.push(`${name} is to be ${want}, once`);
    return value;
  };
  const query: FlowQuery = {
    client: take('client', parseAddress, 'an IP address'),
    vip: take('vip', parseAddress, 'an IP address'),
    port: take('port', (text) => parseWhole(text, 65_535), 'a number from 1 to 65535'),
    protocol: take('protocol', (text) => oneOf(['tcp', 'udp'], text), 'tcp or udp'),
    backend: take<Address>('backend', parseAddress, 'an IP address'),
    state: take('state', (text) => oneOf(FLOW_STATES, text), FLOW_STATES.join(' or ')),
    limit:
      take(
        'limit',
        (text) => parseWhole(text, LISTED_FLOWS_MAX),
        `a number from 1 to ${LISTED_FLOWS_MAX}`,
      ) ?? LISTED_FLOWS_DEFAULT,
  };
  for (const name of left.keys()) problems.push(`${JSON.stringify(name)} is not a filter`);
  const [problem] = problems;
  return problem === undefined ? { value: query } : { problem };
}

function parseWhole(text: string, max: number): number | undefined {
  if (!/^[1-9]\d{0,5}$/.test(text)) return undefined;
  const value = Number(text);
  return value <= max ? value : undefined;
}

function oneOf<T extends string>(allowed: readonly T[], text: string): T | undefined {
  return allowed.find((each) => each === text);
}
