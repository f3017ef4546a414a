// Exits 0 when node_modules holds what package-lock.json asks for, by npm's own record of what it
// installed; else 1. Plain JavaScript: it runs on the machine's Node, before Node 24 is there.
import { readFileSync } from 'node:fs';

function packages(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    return undefined; // absent, or cut short by an interrupted install
  }
}

const wanted = packages('package-lock.json') ?? {};
const installed = packages('node_modules/.package-lock.json');

const differs = Object.entries(wanted).some(([path, entry]) => {
  if (path === '') return false;
  const found = installed?.[path];
  // Packages for other processors and systems are optional, and rightly absent here.
  if (found === undefined) return !(entry.optional || entry.devOptional);
  return found.version !== entry.version || found.integrity !== entry.integrity;
});

process.exit(installed === undefined || differs ? 1 : 0);
