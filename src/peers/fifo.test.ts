import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Fifo } from './fifo.ts';

test('whatever is pushed, taken and kept, it is as an array would be', () => {
  const step = fc.oneof(
    fc.nat(1_000).map((item) => ({ kind: 'push' as const, item })),
    fc.constant({ kind: 'shift' as const }),
    fc.constant({ kind: 'retain' as const }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const fifo = new Fifo<number>();
      let model: number[] = [];
      for (const next of steps) {
        if (next.kind === 'push') {
          fifo.push(next.item);
          model.push(next.item);
        } else if (next.kind === 'shift') {
          expect(fifo.shift()).toBe(model.shift());
        } else {
          fifo.retain((item) => item % 3 > 0);
          model = model.filter((item) => item % 3 > 0);
        }
        expect([...fifo]).toEqual(model);
        expect(fifo.length).toBe(model.length);
        expect([fifo.first, fifo.at(0), fifo.at(2), fifo.at(-1)]).toEqual([
          ...[model[0], model[0], model[2]],
          undefined,
        ]);
      }
    }),
  );
});
