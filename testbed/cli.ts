/** `npm run testbed -- up|down|status|exec|cut|join`: the testbed by hand. */
import { Command } from 'commander';
import { errorMessage } from '../src/lib/errors.ts';
import { BalancerNode } from './daemons.ts';
import { runAttached } from './exec.ts';
import { lockHolder } from './lock.ts';
import { namespaceOf, networkStatus, setCable } from './netns.ts';
import { whole } from './options.ts';
import { runningRecords } from './processes.ts';
import { Router } from './router.ts';
import { standingTopology, takeDown, Testbed, type Removed } from './testbed.ts';
import {
  BACKENDS_MAX,
  NODES_MAX,
  sites,
  VIP_PAIRS_MAX,
  type Site,
  type Topology,
} from './topology.ts';

interface UpOptions {
  readonly nodes: number;
  readonly backends: number;
  readonly vipPairs: number;
  readonly balancers: boolean;
}

const program = new Command('testbed')
  .description('A router, balancers, backends and a client in network namespaces of this machine.')
  // So that options after a command's name belong to the command that `exec` runs.
  .enablePositionalOptions();

program
  .command('up')
  .description('raise it, and leave it standing; what stood before is removed')
  .option('--nodes <n>', 'balancers', whole(0, NODES_MAX), 3)
  .option('--backends <n>', 'backends', whole(0, BACKENDS_MAX), 4)
  .option('--vip-pairs <n>', 'VIPs of each family', whole(1, VIP_PAIRS_MAX), 4)
  .option('--no-balancers', 'do not start gobgpd and the supervisors')
  .action(up);

program
  .command('down')
  .description('end and remove everything that belongs to a testbed')
  .action(async () => {
    console.log(removedText(await takeDown('testbed down')));
  });

program.command('status').description('what stands and what runs').action(status);

program
  .command('exec')
  .description('run a command in a namespace: client, router, lan, mgmt, lb1.., b1..')
  .usage('NAME -- COMMAND [ARGUMENTS...]')
  .argument('<name>', 'such as lb1')
  .argument('<command...>', 'the command, after --')
  .passThroughOptions()
  .action(async (name: string, command: string[]) => {
    const [first, ...rest] = command;
    process.exitCode = await runAttached(namespaceOf(name), first === '--' ? rest : command);
  });

for (const [verb, state] of [
  ['cut', 'down'],
  ['join', 'up'],
] as const) {
  program
    .command(verb)
    .description(`${verb === 'cut' ? 'pull' : 'put back'} the LAN cable of a balancer or backend`)
    .argument('<name>', 'such as lb1')
    .action(async (name: string) => {
      namespaceOf(name);
      await setCable({ name }, state);
    });
}

async function up(options: UpOptions): Promise<void> {
  const startedMs = performance.now();
  const testbed = await Testbed.up({
    ...options,
    owner: 'testbed up',
    onStep: (step) => {
      console.log(step);
    },
  });
  testbed.leave();
  console.log(`up in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  for (const node of options.balancers ? testbed.nodes : []) {
    console.log(`  ${node.site.name}  ${node.consoleUrl}`);
  }
}

async function status(): Promise<void> {
  const { namespaces } = networkStatus();
  if (namespaces.length === 0) {
    console.log('no testbed is up');
    return;
  }
  const holder = lockHolder();
  if (holder !== undefined) console.log(`in use by ${holder.name} (process ${holder.pid})`);
  const shape = standingTopology();
  if (shape === undefined) {
    console.log(`remains of a testbed, not a whole one: ${namespaces.join(', ')}`);
    return;
  }
  for (const site of sites(shape)) console.log(siteText(site, shape));
  await printRoutes(shape);
}

function siteText(site: Site, shape: Topology): string {
  const running = runningRecords()
    .filter((entry) => isOf(entry.name, site.name))
    .map((entry) => `${entry.name} (${entry.pid})`);
  const node = shape.nodes.find((one) => one.name === site.name);
  const url = node === undefined ? '' : new BalancerNode(node).consoleUrl;
  const columns = [site.name.padEnd(7), site.ipv4.padEnd(12), site.ipv6.padEnd(12)];
  return [...columns, running.join(', '), url].join('  ').trimEnd();
}

function isOf(process: string, site: string): boolean {
  return (
    process === site || process === `${site}-gobgpd` || (site === 'router' && process === 'bird')
  );
}

async function printRoutes(shape: Topology): Promise<void> {
  const router = new Router(shape);
  for (const vip of shape.vips.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])) {
    const hops = await router.nextHops(vip);
    if (hops.length > 0) console.log(`${vip} -> ${hops.join(' ')}`);
  }
}

function removedText(removed: Removed): string {
  const { processes, namespaces } = removed;
  if (processes === 0 && namespaces.length === 0) return 'nothing was up';
  return `removed ${namespaces.length} namespaces, ended ${processes} processes`;
}

try {
  await program.parseAsync();
} catch (error) {
  console.error(`testbed: ${errorMessage(error)}`);
  process.exitCode = 1;
}
