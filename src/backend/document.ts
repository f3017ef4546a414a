/** Pure: the cluster document, as one of its backends sees it. */
import type { Address } from '../model/address.ts';
import type { Assignment, ServerMode } from './duties.ts';

/** What of a service matters to the servers behind it. */
export interface ServedService {
  readonly vip: Address;
  readonly backends: readonly {
    readonly address: Address;
    readonly mode: ServerMode;
    readonly forwarding?:
      | {
          readonly port?: number | undefined;
          readonly dscp?: number | undefined;
          readonly mtuBytes?: number | undefined;
        }
      | undefined;
  }[];
}

/** What comes to a server that has the addresses `own`: each (VIP, address, mode) once. */
export function assignmentsFor(
  services: readonly ServedService[],
  own: ReadonlySet<Address>,
): readonly Assignment[] {
  const assignments = services.flatMap(({ vip, backends }) =>
    backends
      .filter(({ address }) => own.has(address))
      .map(({ address, mode, forwarding }): Assignment => {
        const { port, dscp, mtuBytes: mtu } = forwarding ?? {};
        return { vip, address, mode, tunnelPort: port, dscp, mtu };
      }),
  );
  return [...new Map(assignments.map((each) => [JSON.stringify(each), each])).values()];
}
