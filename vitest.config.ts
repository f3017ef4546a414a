/**
 * Three projects by what they need: `unit` nothing, `kernel` root, `testbed` root and namespaces of
 * its own. They run one after the other, and those that share the kernel run one file at a time.
 */
import { defineConfig } from 'vitest/config';
import { TestReporter } from './setup/test-reporter.ts';

const PRIVILEGED = '**/*.{kernel,daemon,browser}.test.ts';
const SCENARIOS = 'testbed/scenarios/**/*.test.ts';

const ci = !['', 'false', '0', undefined].includes(process.env['CI']);

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
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'kernel',
          include: [`{src,testbed,bench}/${PRIVILEGED}`],
          exclude: [SCENARIOS],
          fileParallelism: false,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'testbed',
          include: [SCENARIOS],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
