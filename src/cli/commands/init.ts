/** @file `laurel init`: a pipeline that ships inside, written where the user works. */

import { constants, existsSync } from "node:fs";
import { copyFile, cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { EXIT, UsageError } from "../../errors.js";
import { PACKAGE_FOLDER } from "../../pipeline/package-info.js";
import type { Action } from "../context.js";
import { chosen } from "../declare.js";
import { printJson, shownPath, table } from "../output.js";
import { type InitFlags, STARTERS } from "./init.entry.js";

type Starter = keyof typeof STARTERS;

const NAMES = Object.keys(STARTERS) as readonly Starter[];
const SCHEMA = "schema/pipeline-v1.json";
/** Folders beside a pipeline that it works on. */
const COMPANIONS: { readonly [Name in Starter]?: string } = { "score-folder": "pictures" };

/** @throws UsageError when a file is in the way, or cannot be written */
export const init: Action<InitFlags> = async ({ terminal }, [given = "best-of-n"], flags) => {
  if (flags.list === true) {
    const pipelines = NAMES.map((name) => ({ name, summary: STARTERS[name] }));
    if (flags.json === true) printJson(terminal, { schemaVersion: 1, pipelines });
    else {
      const rows = pipelines.map(({ name, summary }) => [name, summary]);
      terminal.stdout.write(table([{ title: "name" }, { title: "what it does" }], rows, (text) => text));
    }
    return EXIT.ok;
  }
  const name = chosen("name", NAMES, given);
  const path = resolve(flags.out ?? `${name}.yaml`);
  const folder = dirname(path);
  const force = flags.force === true;
  await mkdir(folder, { recursive: true });
  const written = [path];
  const installed = installedSchema(folder);
  const schema = installed ?? join(folder, "laurel-pipeline-v1.json");
  const text = await readFile(join(PACKAGE_FOLDER, "pipelines", `${name}.yaml`), "utf8");
  const modeline = `# yaml-language-server: $schema=${relative(folder, schema).replaceAll("\\", "/")}`;
  await unlessThere(
    path,
    writeFile(
      path,
      text.replace(/^# yaml-language-server:.*$/m, () => modeline),
      { flag: force ? "w" : "wx" },
    ),
  );
  if (installed === undefined) {
    // the same for every pipeline of a folder
    await copyFile(join(PACKAGE_FOLDER, SCHEMA), schema);
    written.push(schema);
  }
  const companion = COMPANIONS[name];
  if (companion !== undefined && !existsSync(join(folder, companion))) {
    await cp(join(PACKAGE_FOLDER, "pipelines", companion), join(folder, companion), {
      recursive: true,
      mode: constants.COPYFILE_EXCL,
    });
    written.push(join(folder, companion));
  }
  if (flags.json === true) printJson(terminal, { schemaVersion: 1, pipeline: name, path, written });
  else {
    for (const one of written) terminal.stdout.write(`${shownPath(one)}\n`);
    if (flags.quiet !== true) terminal.stderr.write(`Run it with: laurel run ${shownPath(path)}\n`);
  }
  return EXIT.ok;
};

/** The schema of the Laurel that is installed for `folder`, as Node would look for it. */
function installedSchema(folder: string): string | undefined {
  for (let at = folder; ; at = dirname(at)) {
    const path = join(at, "node_modules", "laurel", SCHEMA);
    if (existsSync(path)) return path;
    if (at === dirname(at)) return undefined;
  }
}

async function unlessThere(path: string, writing: Promise<void>): Promise<void> {
  try {
    await writing;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EEXIST") throw cause;
    throw new UsageError(`${path}: expected no file yet, got one; --force overwrites it`, { cause });
  }
}
