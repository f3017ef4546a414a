/**
 * What Skein adds to vitest's own report: with CI set, a skipped test fails the run, because a
 * test that vanishes is worse than one that fails; and, where SKEIN_TALLY names a file, the counts
 * of each project are added to it for `tally.ts`.
 */
import { appendFileSync } from 'node:fs';
import type { Reporter, TestCase, TestModule, Vitest } from 'vitest/node';
import type { ProjectTally } from './tally.ts';

export interface TestReporterOptions {
  readonly ci: boolean;
  /** One JSON object a line is added; undefined: nothing is written. */
  readonly tallyFile: string | undefined;
}

export class TestReporter implements Reporter {
  readonly #options: TestReporterOptions;
  #vitest: Vitest | undefined;

  constructor(options: TestReporterOptions) {
    this.#options = options;
  }

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const { ci, tallyFile } = this.#options;
    if (tallyFile !== undefined) {
      const lines = tallies(modules, unhandled.length).map((tally) => `${JSON.stringify(tally)}\n`);
      appendFileSync(tallyFile, lines.join(''));
    }
    // A run of chosen tests (-t) leaves the others out on purpose.
    if (!ci || this.#vitest?.config.testNamePattern !== undefined) return;
    const skipped = modules.flatMap((module) => [...module.children.allTests('skipped')]);
    if (skipped.length === 0) return;
    console.error(`\nSkipped, which fails a run with CI set:\n${skipped.map(title).join('\n')}\n`);
    process.exitCode = 1;
  }
}

function title(test: TestCase): string {
  return `  ${test.project.name}: ${test.module.relativeModuleId} > ${test.fullName}`;
}

function tallies(modules: readonly TestModule[], unhandled: number): ProjectTally[] {
  const byProject = new Map<string, { passed: number; failed: number; skipped: number }>();
  for (const module of modules) {
    const counts = byProject.get(module.project.name) ?? { passed: 0, failed: 0, skipped: 0 };
    byProject.set(module.project.name, counts);
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      // One that never finished has not passed.
      counts[state === 'pending' ? 'failed' : state] += 1;
    }
    // A file that does not load, and a hook that throws, fail without a test of their own.
    const suites = [module, ...module.children.allSuites()];
    counts.failed += suites.filter((suite) => suite.errors().length > 0).length;
  }
  const found = [...byProject].map(([project, counts]) => ({ project, ...counts }));
  if (unhandled > 0) found.push({ project: '', passed: 0, failed: unhandled, skipped: 0 });
  return found;
}
