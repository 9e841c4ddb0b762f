import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { COMMANDS } from "#laurel/cli/commands";
import { longName } from "#laurel/cli/declare";
import { laurel } from "./terminal.js";

test.each([
  [["generate"], /missing required argument 'prompt'/],
  [["generate", "p", "--sed", "1"], /unknown option '--sed'\n\(Did you mean --seed\?\)/],
  [["generate", "p", "--reward-modle", "x"], /\(Did you mean --reward-model\?\)/],
  [["generat", "p"], /unknown command 'generat'\n\(Did you mean generate\?\)/],
  [["generate", "a", "red", "circle"], /too many arguments[^]*\(Is the prompt in quotes\?\)/],
  [["generate", " \n"], /Expected a prompt, got an empty text/],
  [["generate", "p", "-n", "0"], /Expected a whole number from 1 to 10000, got "0"/],
  [["generate", "p", "-n", "10001"], /Expected a whole number from 1 to 10000, got "10001"/],
  [["generate", "p", "-n", "1e3"], /Expected a whole number from 1 to 10000, got "1e3"/],
  [["generate", "p", "-n", "3", "--keep", "4"], /--keep: expected at most the 3 candidates of -n, got 4/],
  [["generate", "p", "--seed", "4294967295"], /Expected a whole number from 0 to 4294967294, got "4294967295"/],
  [["generate", "p", "--seed", "-1"], /Expected a whole number from 0 to 4294967294, got "-1"/],
  [
    ["generate", "p", "--seed", "4294967290"],
    /--seed: expected at most 4294967279, so that 16 candidates have a seed each/,
  ],
  [["generate", "p", "--guidance", "much"], /Expected a number from 0 to 100, got "much"/],
  [["generate", "p", "--width", "18"], /width: expected a multiple of 4 from 8 to 256 pixels, got 18/],
  [["generate", "p", "--sampler", "brush"], /sampler: expected one of paint, spray, got brush/],
  [["score", "p"], /expected images after a prompt/],
  [["resume", "/nowhere"], /\/nowhere\/run\.json: expected the run\.json of a run, got no such file/],
])("%o is a usage error", async (args, message) => {
  const { exitCode, stdout, stderr } = await laurel(args);
  expect(stderr).toMatch(message);
  expect([exitCode, stdout]).toEqual([2, ""]);
  expect(stderr).not.toMatch(/\n\s+at /);
});

test("without a command, help goes to stderr with code 2; asked for, to stdout with code 0", async () => {
  const none = await laurel([]);
  expect([none.exitCode, none.stdout]).toEqual([2, ""]);
  expect(none.stderr).toContain("Usage: laurel");
  for (const args of [["--help"], ["help", "generate"], ["generate", "--help"], ["score", "-h"], ["rerun", "-h"]]) {
    const { exitCode, stdout, stderr } = await laurel(args);
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toContain("Examples:\n  laurel ");
  }
  const version = await laurel(["--version"]);
  expect(version).toEqual({ exitCode: 0, stdout: "0.1.0\n", stderr: "" });
});

test.each(Object.entries(COMMANDS))("laurel %s --help has examples and every option", async (name, declaration) => {
  const { exitCode, stdout, stderr } = await laurel([...name.split(" "), "--help"]);
  expect([exitCode, stderr]).toEqual([0, ""]);
  expect(stdout).toMatch(new RegExp(`\n\nExamples:\n  .*laurel ${name}`));
  for (const [key, option] of Object.entries(declaration.options)) {
    expect(stdout).toMatch(new RegExp(`^  (-\\w, )?${longName(key, option)}[ \\n]`, "m"));
  }
});

test("the commands are listed under headings, a group with its own help", async () => {
  const { stdout } = await laurel(["--help"]);
  expect(stdout.match(/^[A-Z].*:$/gm)).toEqual([
    "Options:",
    "Pictures:",
    "Pipelines:",
    "Machines:",
    "Installation:",
    "Training:",
    "Demo models:",
    "Commands:",
    "Examples:",
  ]);
  const group = await laurel(["demo", "--help"]);
  expect([group.exitCode, group.stderr]).toEqual([0, ""]);
  expect(group.stdout).toContain("Examples:\n  laurel demo ");
});

test("an expected error is one line; --debug adds where it comes from", async () => {
  const args = ["generate", "p", "--model", "/missing"];
  expect(await laurel(args)).toEqual({
    exitCode: 5,
    stdout: "",
    stderr: "error: /missing: expected a model, got no such folder\n",
  });
  const debug = await laurel([...args, "--debug"]);
  expect(debug.exitCode).toBe(5);
  expect(debug.stderr).toMatch(/^error: \/missing: .*\nModelError: .*\n\s+at /);
});

test("an unexpected error says so", async () => {
  const reward = {
    name: "broken",
    model: { name: "broken", path: undefined },
    range: [0, 1] as const,
    score: () => Promise.reject(new TypeError("x is not a function")),
    dispose: async () => undefined,
  };
  const out = await mkdtemp(join(tmpdir(), "laurel-test-"));
  const { exitCode, stderr } = await laurel(["generate", "p", "--out", out], { reward });
  await rm(out, { recursive: true });
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(
    /^the run stopped with 0 of 16 candidates; go on with: laurel resume \/\S+\nerror: x is not a function\nThis is unexpected; --debug shows where it comes from\.\n$/,
  );
});

test("control characters in a message cannot reach the terminal", async () => {
  const { stderr } = await laurel(["generate", "p", "--model", "/\u001b[2Jmissing"]);
  expect(stderr).toBe("error: /\\x1b[2Jmissing: expected a model, got no such folder\n");
});

// a rebuilt file loses the mode that npm gave it when it linked the command, and npx does not link again
test.skipIf(process.platform === "win32")("a build leaves the command executable", async () => {
  const { mode } = await stat(new URL("../../dist/cli/main.js", import.meta.url));
  expect((mode & 0o111).toString(8)).toBe("111");
});
