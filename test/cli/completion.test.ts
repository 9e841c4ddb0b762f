/** @file The completion scripts, sourced by the shells they are for. */

import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { COMMANDS } from "#laurel/cli/commands";
import { longName } from "#laurel/cli/declare";
import { SAMPLER_NAMES } from "#laurel/samplers/names";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel } from "./terminal.js";

const run = promisify(execFile);
const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = (typeof SHELLS)[number];

/** What a shell that sourced the script in `folder` offers for `line`, sorted; files are looked for in `folder`. */
async function offered(shell: Shell, folder: string, line: string): Promise<string[]> {
  const script = join(folder, `script.${shell}`);
  const output = await ASK[shell](script, line, folder);
  return [...new Set(output)].sort();
}

const ASK: Record<Shell, (script: string, line: string, cwd: string) => Promise<string[]>> = {
  async bash(script, line, cwd) {
    // As readline parts the line: at spaces and at "=", which is a word of its own.
    const words = line.split(/ |(=)/).filter((word) => word !== undefined);
    const program = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); _laurel; printf "%s\\n" "${COMPREPLY[@]}"'; // prettier-ignore
    const { stdout } = await run("bash", ["--norc", "-c", program, "bash", script, ...words], { cwd });
    return stdout.split("\n").filter((word) => word !== "");
  },
  async zsh(script, line, cwd) {
    const driver = fileURLToPath(new URL("complete.zsh", import.meta.url));
    const { stdout } = await run("zsh", ["-f", driver, script, line], { cwd });
    return [...stdout.matchAll(/offered:(\S+)/g)].map((match) => match[1] as string);
  },
  async fish(script, line, cwd) {
    const program = 'source $argv[1]; complete -C "$argv[2]"';
    const { stdout } = await run("fish", ["--no-config", "-c", program, script, line], { cwd, env: { ...process.env, HOME: cwd } }); // prettier-ignore
    return stdout.split("\n").flatMap((text) => (text === "" ? [] : (text.split("\t")[0] as string).replace(/^--\w+=/, ""))); // prettier-ignore
  },
};

/** Shells of this machine; each is asked in its own tests. */
const installed = new Map<Shell, boolean>();
for (const shell of SHELLS) {
  installed.set(
    shell,
    await run(shell, ["-c", "exit 0"]).then(
      () => true,
      () => false,
    ),
  );
}

test("bash, which every system here has, is among the shells asked", () => {
  if (process.platform !== "win32") expect(installed.get("bash")).toBe(true);
});

test.each(SHELLS.filter((shell) => installed.get(shell)))(
  "%s completes commands, options, choices and paths",
  { timeout: 60_000 },
  async (shell) => {
    const folder = await temporaryFolder();
    const ask = (line: string): Promise<string[]> => offered(shell, folder, line);
    const { exitCode, stdout, stderr } = await laurel(["completion", shell]);
    expect([exitCode, stderr]).toEqual([0, ""]);
    await writeFile(join(folder, `script.${shell}`), stdout);
    await mkdir(join(folder, "pictures of cats"));
    await writeFile(join(folder, "picture.png"), "");

    const commands = new Set(Object.keys(COMMANDS).map((name) => name.split(" ")[0] as string));
    const samplers = (start: string): string[] => SAMPLER_NAMES.filter((name) => name.startsWith(start)).sort();
    const expected: [line: string, words: string[]][] = [
      ["laurel ", [...commands, "help"].sort()],
      ["laurel gen", ["generate"]],
      ["laurel demo ", ["evaluate", "finetune", "refine", "train"]],
      ["laurel runs ", ["diff", "list", "rm", "show"]],
      ["laurel demo train ", ["autoencoder", "denoiser", "judge", "reward"]],
      ["laurel completion ", ["bash", "fish", "zsh"]],
      ["laurel help dem", ["demo"]],
      ["laurel generate --see", ["--seed"]],
      ["laurel models list --no", ["--no-digest"]],
      ["laurel generate --sampler ", samplers("")],
      ["laurel generate prompt --sampler dd", samplers("dd")],
      ["laurel generate --sampler=dd", samplers("dd")],
      ["laurel generate --seed 7 --sampler unip", samplers("unip")],
      ["laurel generate --seed ", []],
      ["laurel generate ", []],
      ["laurel score --reward-model picture.", ["picture.png"]],
    ];
    const answers = await Promise.all(expected.map(async ([line]) => [line, await ask(line)]));
    expect(answers).toEqual(expected);

    const options = Object.entries(COMMANDS.generate.options).map(([key, option]) => longName(key, option));
    expect(await ask("laurel generate --")).toEqual(expect.arrayContaining([...options, "--debug", "--help"]));

    // zsh offers the parts of a path in several calls.
    if (shell === "zsh") return;
    const plain = (words: string[]): string[] => words.map((word) => word.replace(/\\/g, "").replace(/\/$/, ""));
    expect(plain(await ask("laurel generate --out pict"))).toEqual(["pictures of cats"]);
    expect(plain(await ask("laurel score prompt pict"))).toEqual(["picture.png", "pictures of cats"]);
  },
);

test("another shell is a usage error", async () => {
  const { exitCode, stdout, stderr } = await laurel(["completion", "tcsh"]);
  expect([exitCode, stdout, stderr]).toEqual([2, "", 'error: shell: expected bash, zsh, fish, got "tcsh"\n']);
});
