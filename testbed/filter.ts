/**
 * Packets that get lost on purpose: nftables rules in a namespace of the testbed, each set in a table
 * of its own, so that one can be taken back without the others.
 */
import { run } from './exec.ts';
import type { Site } from './topology.ts';

/** Rules that are in force. */
export interface Filter extends AsyncDisposable {
  /** Packets that rules with a `counter` have met, while they are in force. */
  packets(): Promise<number>;
  /** Takes the rules back. Idempotent. */
  lift(): Promise<void>;
}

let tables = 0;

/** Rules in the syntax of nft(8), such as `udp dport 7483 drop`, for what comes in at a host. */
export async function filterInput(
  { namespace }: Pick<Site, 'namespace'>,
  rules: readonly string[],
): Promise<Filter> {
  return install(namespace, 'inet', 'type filter hook input priority 0', rules);
}

/** For what an interface receives, before anything else looks at it (but after XDP). */
export async function filterIngress(
  { namespace, interface: name }: { readonly namespace: string; readonly interface: string },
  rules: readonly string[],
): Promise<Filter> {
  const hook = `type filter hook ingress device "${name}" priority 0`;
  return install(namespace, 'netdev', hook, rules);
}

async function install(
  namespace: string,
  family: 'inet' | 'netdev',
  hook: string,
  rules: readonly string[],
): Promise<Filter> {
  tables += 1;
  const name = `testbed${tables}`;
  const lines = [`table ${family} ${name} {`, 'chain only {', `${hook};`, ...rules, '}', '}', ''];
  await run(['nft', '-f', '-'], { namespace, input: lines.join('\n') });
  let isLifted = false;
  const lift = async (): Promise<void> => {
    if (isLifted) return;
    isLifted = true;
    await run(['nft', 'delete', 'table', family, name], { namespace });
  };
  const packets = async (): Promise<number> => {
    const listed = await run(['nft', '-j', 'list', 'table', family, name], { namespace });
    return countedIn(JSON.parse(listed) as Listing);
  };
  return { packets, lift, [Symbol.asyncDispose]: lift };
}

/** What of libnftables-json(5) is needed here. */
interface Listing {
  readonly nftables: readonly {
    readonly rule?: {
      readonly expr: readonly { readonly counter?: { readonly packets: number } }[];
    };
  }[];
}

function countedIn({ nftables }: Listing): number {
  const statements = nftables.flatMap(({ rule }) => rule?.expr ?? []);
  return statements.reduce((sum, { counter }) => sum + (counter?.packets ?? 0), 0);
}
