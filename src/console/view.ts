import type { FlowList, FlowQuery } from '../model/flow-query.ts';
import type { NodeSnapshot } from '../snapshot.ts';

/**
 * Where every answer comes from. `snapshot` is cheap: the same value until there is a newer one.
 * Both throw a SkeinError while there is nothing to tell yet.
 */
export interface View {
  snapshot(): NodeSnapshot;
  /** Walks the flow table, so it takes a while; `busy` when too many ask at once. */
  flows?(query: FlowQuery): Promise<FlowList | 'busy'>;
}

/**
 * However many ask, what costs much is made once for each snapshot: every open page asks each
 * second, and a node with tens of thousands of backends has large snapshots.
 */
export function perSnapshot<T>(make: (snapshot: NodeSnapshot) => T): (snapshot: NodeSnapshot) => T {
  let last: { readonly snapshot: NodeSnapshot; readonly made: T } | undefined;
  return (snapshot) => {
    if (last?.snapshot !== snapshot) last = { snapshot, made: make(snapshot) };
    return last.made;
  };
}
