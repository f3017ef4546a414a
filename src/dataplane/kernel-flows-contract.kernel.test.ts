/** The kernel's flow tables keep the contract that every flow table has towards the peers. */
import { afterAll, beforeAll, beforeEach, test, vi } from 'vitest';
import { drainRows, openSharing } from '../bpf/fixture-rows.ts';
import { service, TIMEOUTS, type Fixture } from '../bpf/fixture.ts';
import { tcp, udp } from '../bpf/packet.ts';
import {
  CONTRACT_BACKENDS,
  CONTRACT_DESTINATIONS,
  TABLE_CONTRACT,
  type ContractClient,
  type TableUnderTest,
} from '../peers/table-contract.ts';

const SERVICES = Object.values(CONTRACT_DESTINATIONS).map((destination) =>
  service({ ...destination, backends: CONTRACT_BACKENDS }),
);
const WAIT = { timeout: 60_000, interval: 5 };

let fixture: Fixture;

beforeAll(async () => {
  fixture = await openSharing();
});
afterAll(async () => {
  await fixture.close();
});
beforeEach(async () => {
  await fixture.program(...SERVICES);
  fixture.forgetFlows();
  drainRows(fixture);
});

function send({ destination, client, clientPort }: ContractClient, flags: string): void {
  const { vip, protocol, port } = destination;
  const between = { source: client, destination: vip, sport: clientPort, dport: port };
  fixture.run(protocol === 'tcp' ? tcp({ ...between, flags }) : udp(between));
}

function flowOf({ client, clientPort }: ContractClient) {
  const flows = fixture.established();
  return flows.find(({ source, sport }) => source === client && sport === clientPort);
}

const subject = (): TableUnderTest => ({
  table: fixture.dataplane.flowTable,
  open(client) {
    for (const flags of ['S', 'A']) send(client, flags);
    const backend = fixture.backendOf(flowOf(client)!);
    return Promise.resolve(backend!);
  },
  async end(client) {
    // A flow ends when it has been idle after its FIN, here for no time at all.
    fixture.dataplane.reconcile(SERVICES, { ...TIMEOUTS, tcpFinS: 0 });
    send(client, 'FA');
    await vi.waitFor(async () => {
      await fixture.dataplane.maintain();
      if (flowOf(client) !== undefined) throw new Error('the flow is still there');
    }, WAIT);
  },
  close: () => Promise.resolve(),
});

test.each(TABLE_CONTRACT)('$name', async ({ run }) => {
  await run(subject());
});
