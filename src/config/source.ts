/**
 * The text of a document as plain values, and the way back from a path to its line and column.
 * Never throws and never loops: nesting and the number of values are bounded, aliases included.
 * The only door to yaml. JSON is read by the same parser, since YAML 1.2 contains it.
 */
import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  type Alias,
  type ErrorCode,
  type Node,
  type Pair,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import { errorMessage } from '../lib/errors.ts';
import { formatPath, type Finding, type Path } from './problems.ts';
import type { ConfigProblem } from './types.ts';

export interface SourceText {
  /** Name for messages. */
  readonly file: string;
  readonly text: string;
}

/** Values in a document after its aliases are expanded: about what MAX_FILE_BYTES can hold. */
export const VALUES_MAX = 500_000;

/** Deeper than any key of the schemas. */
export const DEPTH_MAX = 16;

export interface Source {
  readonly value: unknown;
  /** False when errors of syntax leave nothing worth checking. */
  readonly usable: boolean;
  readonly problems: readonly ConfigProblem[];
  /** Where in the text a finding is. What is missing is placed at what it is missing from. */
  place(finding: Finding): ConfigProblem;
}

/** Version 1.2 and its core types whatever the text asks for: no `yes`, no octal, no merge keys. */
const OPTIONS = {
  schema: 'core',
  merge: false,
  resolveKnownTags: false,
  stringKeys: true,
  // Checked below instead: the parser compares each key with all before it.
  uniqueKeys: false,
  prettyErrors: false,
  logLevel: 'error',
} as const;

export function readSource(source: SourceText): Source {
  const lines = new LineCounter();
  const { root, errors } = parse(source.text, lines);
  const reader = new Reader(lines);
  const value = errors.length === 0 ? reader.read(root) : undefined;
  const locator = new Locator(root, reader.targets);

  const problemAt = (offset: number, path: string, message: string): ConfigProblem => {
    const { line, col } = lines.linePos(offset);
    // An empty text has no lines at all.
    return {
      file: source.file,
      line: Math.max(line, 1),
      column: line === 0 ? 1 : col,
      path,
      message,
    };
  };
  return {
    value,
    usable: errors.length === 0 && !reader.broken,
    problems: [...errors, ...reader.defects].map((defect) => {
      return problemAt(defect.offset, formatPath(defect.path), defect.message);
    }),
    place({ path, message, at }) {
      const found = locator.find(path);
      const offset = (at === 'key' ? found.keyOffset : undefined) ?? found.offset;
      return problemAt(offset, formatPath(path.slice(0, found.depth)), message);
    },
  };
}

/** A problem of the text itself. */
interface Defect {
  readonly offset: number;
  readonly path: Path;
  readonly message: string;
}

/** Where the parser speaks to programmers. */
const PLAINER: Partial<Record<ErrorCode, string>> = {
  MULTIPLE_DOCS: 'a second document begins here; there must be one',
  NON_STRING_KEY: 'a key must be plain text',
  RESOURCE_EXHAUSTION: 'nested too deeply',
};

function parse(text: string, lineCounter: LineCounter): { root: Node | null; errors: Defect[] } {
  try {
    const document = parseDocument(text, { ...OPTIONS, lineCounter });
    // A warning is a tag or a directive that nobody knows: as little wanted as an error.
    const errors = [...document.errors, ...document.warnings];
    return {
      root: document.contents,
      errors: errors.map(({ pos, code, message }) =>
        syntaxDefect(pos[0], PLAINER[code] ?? message),
      ),
    };
  } catch (error) {
    return { root: null, errors: [syntaxDefect(0, errorMessage(error))] };
  }
}

function syntaxDefect(offset: number, message: string): Defect {
  return { offset, path: [], message: `syntax: ${message}` };
}

/** Turns nodes into values, one walk in the order of the text. */
class Reader {
  readonly defects: Defect[] = [];
  /** What each alias stands for. */
  readonly targets = new Map<Alias, Node>();
  /** True when the values do not say what the text says. */
  broken = false;
  readonly #lines: LineCounter;
  readonly #anchors = new Map<string, Node>();
  readonly #path: (string | number)[] = [];
  #values = 0;
  #expanding = 0;

  constructor(lines: LineCounter) {
    this.#lines = lines;
  }

  read(node: unknown): unknown {
    if (this.#values > VALUES_MAX) return undefined;
    if (++this.#values > VALUES_MAX) {
      return this.#giveUp(node, `the document has more than ${VALUES_MAX} values`);
    }
    if (this.#path.length > DEPTH_MAX) {
      return this.#giveUp(node, `is more than ${DEPTH_MAX} levels deep`);
    }
    if (isAlias(node)) return this.#readAlias(node);
    // An anchor met again inside an expanded alias must not hide a later one of the same name.
    if (this.#expanding === 0) this.#remember(node);
    if (isMap(node)) return this.#readMap(node);
    if (isSeq(node)) return node.items.map((item, index) => this.#descend(index, item));
    return isScalar(node) ? node.value : null;
  }

  #remember(node: unknown): void {
    if (!isNode(node) || isAlias(node) || node.anchor === undefined) return;
    this.#anchors.set(node.anchor, node);
  }

  #readAlias(alias: Alias): unknown {
    const target = this.targets.get(alias) ?? this.#anchors.get(alias.source);
    if (target === undefined) return this.#giveUp(alias, `no anchor &${alias.source} before this`);
    this.targets.set(alias, target);
    this.#expanding++;
    const value = this.read(target);
    this.#expanding--;
    return value;
  }

  #readMap(map: YAMLMap): Record<string, unknown> {
    const record: Record<string, unknown> = {};
    const seen = new Map<string, Pair>();
    for (const pair of map.items) {
      const key = keyOf(pair);
      const earlier = seen.get(key);
      if (earlier !== undefined) {
        const line = this.#lines.linePos(offsetOf(earlier.key)).line;
        this.#blame(pair.key, [key], `is written twice, first in line ${line}`);
      } else if (key === '__proto__') {
        this.#blame(pair.key, [key], 'unknown key "__proto__"');
      } else {
        seen.set(key, pair);
        record[key] = this.#descend(key, pair.value);
      }
    }
    return record;
  }

  #descend(step: string | number, node: unknown): unknown {
    this.#path.push(step);
    const value = this.read(node);
    this.#path.pop();
    return value;
  }

  #giveUp(node: unknown, message: string): unknown {
    this.broken = true;
    this.#blame(node, [], message);
    return undefined;
  }

  #blame(node: unknown, below: Path, message: string): void {
    this.defects.push({ offset: offsetOf(node), path: [...this.#path, ...below], message });
  }
}

interface Found {
  readonly offset: number;
  /** Of the last key of the path, where the text has it. */
  readonly keyOffset: number | undefined;
  /** How much of the path to show: a short form, such as a bare address, has nothing below it. */
  readonly depth: number;
}

/** The way from a path to a place in the text. */
class Locator {
  readonly #root: Node | null;
  readonly #targets: ReadonlyMap<Alias, Node>;
  /** Of the mappings that a path went through: one that is all wrong is asked for every key. */
  readonly #pairs = new Map<YAMLMap, ReadonlyMap<string, Pair>>();

  constructor(root: Node | null, targets: ReadonlyMap<Alias, Node>) {
    this.#root = root;
    this.#targets = targets;
  }

  /** Follows the path as far as the text goes. */
  find(path: Path): Found {
    let node: unknown = this.#root;
    let offset = offsetOf(node);
    let keyOffset: number | undefined;
    for (const [depth, step] of path.entries()) {
      if (isAlias(node)) node = this.#targets.get(node);
      if (!isMap(node) && !isSeq(node)) return { offset, keyOffset, depth };
      const { key, value } = this.#child(node, step);
      if (key === undefined && value === undefined) {
        return { offset, keyOffset: undefined, depth: path.length };
      }
      keyOffset = key === undefined ? undefined : offsetOf(key);
      // A key without a value stands for itself.
      offset = isEmpty(value) ? (keyOffset ?? offset) : offsetOf(value);
      node = value;
    }
    return { offset, keyOffset, depth: path.length };
  }

  #child(node: YAMLMap | YAMLSeq, step: string | number): { key?: unknown; value?: unknown } {
    if (isSeq(node)) return typeof step === 'number' ? { value: node.items[step] } : {};
    let pairs = this.#pairs.get(node);
    if (pairs === undefined) {
      // Of keys written twice the first counts, as it does for the reader.
      pairs = new Map(node.items.toReversed().map((pair) => [keyOf(pair), pair]));
      this.#pairs.set(node, pairs);
    }
    return pairs.get(String(step)) ?? {};
  }
}

function keyOf(pair: Pair): string {
  return isScalar(pair.key) ? String(pair.key.value) : '';
}

function isEmpty(node: unknown): boolean {
  return !isNode(node) || node.range?.[0] === node.range?.[1];
}

function offsetOf(node: unknown): number {
  return isNode(node) ? (node.range?.[0] ?? 0) : 0;
}
