/** What a node sends a server, the server makes into what the client sent. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { dutiesOf } from '../backend/duties.ts';
import { loadProgram, PROGRAM } from '../backend/program.ts';
import { testRun, type BpfObject } from '../dataplane/libbpf.ts';
import { TUNNEL_MODES } from '../model/forwarding.ts';
import { PLANS } from './fixture-network.ts';
import { Fixture, service, towards } from './fixture.ts';
import { withTos } from './fixture-tunnels.ts';
import { tcp, udp } from './packet.ts';

const DSCP = 21;
const PASS = 2;

let fixture: Fixture;
let server: BpfObject;

beforeAll(async () => {
  fixture = await Fixture.open();
  const assignments = PLANS.flatMap((outer) => [
    ...PLANS.flatMap(({ vip }) =>
      TUNNEL_MODES.map((mode) => ({ vip, address: outer.backend(1), mode })),
    ),
    { vip: outer.vip, address: outer.backend(1), mode: 'dscp' as const, dscp: DSCP },
  ]);
  const result = dutiesOf(assignments);
  if (!result.ok) throw new Error(result.problems.join('; '));
  server = loadProgram(result.duties);
});
afterAll(async () => {
  server.close();
  await fixture.close();
});
afterEach(() => {
  fixture.forgetFlows();
});

const tunnels = TUNNEL_MODES.flatMap((mode) =>
  PLANS.flatMap((outer) => PLANS.map((inner) => ({ mode, outer, inner }))),
);
const marks = PLANS.map((plan) => ({ mode: 'dscp' as const, outer: plan, inner: plan }));

describe.each([...tunnels, ...marks])(
  '$inner.family by $mode over $outer.family',
  ({ mode, outer, inner }) => {
    const { vip } = inner;
    const forwarding = mode === 'dscp' ? { dscp: DSCP } : undefined;
    const between = { source: inner.client, destination: vip, sport: 40_000, dport: 80 };
    const payload = new Uint8Array(501).map((_, i) => i);
    const rows = [
      { what: 'a SYN', frame: tcp({ ...between, flags: 'S' }) },
      { what: 'data', frame: tcp({ ...between, flags: 'PA', payload }) },
      { what: 'a FIN', frame: tcp({ ...between, flags: 'FA' }) },
      { what: 'a datagram', frame: udp({ ...between, payload }) },
      { what: 'a packet that knows ECN', frame: withTos(tcp({ ...between, flags: 'A' }), 2) },
      { what: 'a packet marked as congested', frame: withTos(tcp({ ...between, flags: 'A' }), 3) },
    ];

    test.each(rows)('$what', async ({ frame }) => {
      const backends = [{ address: outer.backend(1), mode, forwarding }];
      await fixture.program(
        service({ vip, backends }),
        service({ vip, protocol: 'udp', backends }),
      );
      const sent = fixture.send(frame);
      expect(sent.verdict).toBe('TX');
      expect(sent.frame).not.toEqual(towards(1, frame));
      const { verdict, packet } = testRun(server.program(PROGRAM), { packet: sent.frame });
      expect({ verdict, packet: packet.slice() }).toEqual({
        verdict: PASS,
        packet: towards(1, frame),
      });
    });
  },
);
