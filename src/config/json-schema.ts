/**
 * Writes the JSON Schemas that editors use, from the schemas that the program uses.
 *   node src/config/json-schema.ts           writes config/*.schema.json
 *   node src/config/json-schema.ts --check   exits with 1 if a file is not what would be written
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { format } from 'prettier';
import { clusterDocument, nodeDocument } from './schema.ts';

const FOLDER = join(import.meta.dirname, '../../config');

const DOCUMENTS = [
  { file: 'skein.schema.json', schema: clusterDocument, title: 'Skein: cluster document' },
  { file: 'node.schema.json', schema: nodeDocument, title: 'Skein: node part' },
] as const;

/** Path and text of each file. Draft 7 is what editors and their YAML plugins know best. */
export function renderSchemas(): Promise<{ path: string; text: string }[]> {
  const rendered = DOCUMENTS.map(async ({ file, schema, title }) => {
    const { $schema, ...rest } = schema.toJSONSchema({ io: 'input', target: 'draft-07' });
    const text = JSON.stringify({ $schema, title, ...rest });
    return {
      path: join(FOLDER, file),
      text: await format(text, { parser: 'json', printWidth: 100 }),
    };
  });
  return Promise.all(rendered);
}

function currentText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

if (import.meta.main) {
  const check = process.argv.includes('--check');
  for (const { path, text } of await renderSchemas()) {
    if (currentText(path) === text) continue;
    if (check) {
      console.error(`${path} is out of date: run "node src/config/json-schema.ts"`);
      process.exitCode = 1;
    } else {
      writeFileSync(path, text);
    }
  }
}
