/**
 * Tells clients, in the SYN-ACKs of the VIPs, of the room that the tunnels leave: by an nft table of
 * our own. Must never touch another table.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runTool } from '../dataplane/ip.ts';
import { errorMessage, SkeinError } from '../lib/errors.ts';
import { familyOf, type Address } from '../model/address.ts';

const TABLE = 'inet skein_backend';

/** Segments to this VIP are to be no longer than this. */
export interface Clamp {
  readonly vip: Address;
  /** Bytes of TCP payload, as in the MSS option (RFC 9293, section 3.7.1). */
  readonly mss: number;
}

/** Replaces the whole table in one transaction. `nft` only ever lowers the option, never raises it. */
export function clampScript(clamps: readonly Clamp[]): string {
  const groups = Map.groupBy(clamps, ({ vip, mss }) => `${familyOf(vip)} ${mss}`);
  const rules = [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const word = familyOf(first.vip) === 'ipv4' ? 'ip' : 'ip6';
    const vips = group.map(({ vip }) => vip).join(', ');
    return `    ${word} saddr { ${vips} } tcp flags & syn == syn tcp option maxseg size set ${first.mss}`;
  });
  return [
    `table ${TABLE}`,
    `delete table ${TABLE}`,
    `table ${TABLE} {`,
    '  chain clamp {',
    '    type filter hook postrouting priority mangle; policy accept;',
    ...rules,
    '  }',
    '}',
    '',
  ].join('\n');
}

/** Adding it first makes the deletion of a table that is not there no error. */
const REMOVAL = `table ${TABLE}\ndelete table ${TABLE}\n`;

export async function putClamps(clamps: readonly Clamp[], stateDir: string): Promise<void> {
  await runScript(clampScript(clamps), stateDir);
}

export async function removeClamps(stateDir: string): Promise<void> {
  await runScript(REMOVAL, stateDir);
}

/** Through a file, since thousands of VIPs are longer than a command line may be. */
async function runScript(text: string, stateDir: string): Promise<void> {
  mkdirSync(stateDir, { recursive: true });
  const file = join(stateDir, 'clamp.nft');
  writeFileSync(file, text);
  try {
    await runTool('nft', ['-f', file]);
  } catch (error) {
    const words = errorMessage(error);
    const what = words.includes('ENOENT') ? 'nft is missing (apt-get install nftables)' : words;
    throw new SkeinError(
      'MSS_CLAMP',
      `the MSS cannot be clamped: ${what}; --mss off goes without`,
      {
        cause: error,
      },
    );
  } finally {
    rmSync(file, { force: true });
  }
}
