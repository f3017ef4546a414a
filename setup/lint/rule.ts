/** The ESLint rule that asks `boundaries.ts` about every import, static, dynamic or re-exported. */
import { dirname, join, relative } from 'node:path';
import type { Rule } from 'eslint';
import { importProblem } from './boundaries.ts';

const ROOT = join(import.meta.dirname, '../..');

interface ImportNode {
  readonly source?: { readonly value?: unknown } | null;
  readonly importKind?: string;
  readonly exportKind?: string;
  readonly specifiers?: readonly { readonly importKind?: string; readonly exportKind?: string }[];
}

export const importBoundary: Rule.RuleModule = {
  meta: { type: 'problem', schema: [], docs: { description: 'Keeps the dependency direction.' } },
  create(context) {
    const file = relative(ROOT, context.filename);
    const check = (node: Rule.Node): void => {
      const found = node as ImportNode;
      const specifier = found.source?.value;
      if (typeof specifier !== 'string') return;
      const target = specifier.startsWith('.') ? join(dirname(file), specifier) : specifier;
      const message = importProblem({ file, target, typeOnly: isTypeOnly(found) });
      if (message !== undefined) context.report({ node, message });
    };
    return {
      ImportDeclaration: check,
      ImportExpression: check,
      ExportNamedDeclaration: check,
      ExportAllDeclaration: check,
    };
  },
};

function isTypeOnly(node: ImportNode): boolean {
  if (node.importKind === 'type' || node.exportKind === 'type') return true;
  const specifiers = node.specifiers ?? [];
  return (
    specifiers.length > 0 &&
    specifiers.every(({ importKind, exportKind }) => (importKind ?? exportKind) === 'type')
  );
}
