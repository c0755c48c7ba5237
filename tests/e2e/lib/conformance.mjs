// What the published clients offer to applications, read from their own declarations, and a book of what was checked of it.
import fs from 'node:fs';
import path from 'node:path';

const modules = path.join(path.dirname(new URL(import.meta.url).pathname), '../node_modules');

// The public methods of the classes in a declaration file: not private, and not marked as hidden.
export function publicMethods(text) {
  const methods = [];
  let owner = null;
  let comment = '';
  for (const line of text.split('\n')) {
    const declared = /^export declare (?:abstract )?class (\w+)/.exec(line);
    if (declared) { owner = declared[1]; comment = ''; continue; }
    if (/^\s*(\/\*\*|\*)/.test(line)) { comment = line.includes('/**') ? line : comment + line; continue; }
    const method = /^ {4}(?:(private|protected) )?(\w+)(?:<[^(]*>)?\(/.exec(line);
    if (owner && method && !method[1] && method[2] !== 'constructor' && !comment.includes('@hidden')) methods.push(`${owner}.${method[2]}`);
    if (/^ {4}\S/.test(line)) comment = '';
  }
  return [...new Set(methods)];
}

// Of a package whose declarations are in that folder.
export function methodsOf(packageFolder) {
  const folder = path.join(modules, packageFolder);
  const files = fs.readdirSync(folder).filter((f) => f.endsWith('.d.ts'));
  return files.flatMap((f) => publicMethods(fs.readFileSync(path.join(folder, f), 'utf8'))).sort();
}

// What was checked, and what is not for a stated reason.
export function book() {
  const entries = new Map();
  return {
    checked(...names) { for (const name of names) entries.set(name, 'checked'); },
    refused(name, error) { entries.set(name, `answers ${error}`); },
    excused(names, why) { for (const name of names) entries.set(name, why); },
    // Methods that nobody has spoken of, and entries for which there is no method.
    gaps(methods) {
      return { forgotten: methods.filter((m) => !entries.has(m)), unknown: [...entries.keys()].filter((m) => !methods.includes(m)) };
    },
    table(methods) { return methods.map((m) => `${m.padEnd(44)} ${entries.get(m) ?? 'FORGOTTEN'}`).join('\n'); },
  };
}
