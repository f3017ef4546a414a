import type { NodeSnapshot } from '../snapshot.ts';

/**
 * Where every answer comes from. `snapshot` is cheap: the same value until there is a newer one.
 * It throws a SkeinError while there is none yet.
 */
export interface View {
  snapshot(): NodeSnapshot;
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
