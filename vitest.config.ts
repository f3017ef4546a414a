/**
 * Three projects by what they need: `unit` nothing, `kernel` root, `testbed` root and namespaces of
 * its own. They run one after the other, and those that share the kernel run one file at a time.
 */
import { defineConfig } from 'vitest/config';
import { TestReporter } from './setup/test-reporter.ts';

const PRIVILEGED = '**/*.{kernel,daemon,browser}.test.ts';
const SCENARIOS = 'testbed/scenarios/**/*.test.ts';

const ci = !['', 'false', '0', undefined].includes(process.env['CI']);

/**
 * Time that only a test which hangs uses up: several times what a busy machine of two cores needs.
 * What must be fast is measured by a benchmark, and never by a test that runs out of time.
 */
const UNIT_TIMEOUT_MS = 60_000;
const KERNEL_TIMEOUT_MS = 180_000;
const TESTBED_TIMEOUT_MS = 300_000;
const POLLING = { poll: { timeout: 20_000 } };

export default defineConfig({
  test: {
    passWithNoTests: false,
    reporters: ['default', new TestReporter({ ci, tallyFile: process.env['SKEIN_TALLY'] })],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{src,testbed,bench,setup}/**/*.test.ts'],
          exclude: [PRIVILEGED, SCENARIOS],
          testTimeout: UNIT_TIMEOUT_MS,
          hookTimeout: UNIT_TIMEOUT_MS,
          expect: POLLING,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'kernel',
          include: [`{src,testbed,bench}/${PRIVILEGED}`],
          exclude: [SCENARIOS],
          fileParallelism: false,
          testTimeout: KERNEL_TIMEOUT_MS,
          hookTimeout: KERNEL_TIMEOUT_MS,
          expect: POLLING,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'testbed',
          include: [SCENARIOS],
          fileParallelism: false,
          testTimeout: TESTBED_TIMEOUT_MS,
          hookTimeout: TESTBED_TIMEOUT_MS,
          expect: POLLING,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
