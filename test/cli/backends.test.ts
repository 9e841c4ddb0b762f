import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { loadBackendConfig } from "#laurel/backends/load-config";
import { checkBackend } from "#laurel/installation/check-backend";
import type { RunResultJson } from "#laurel/cli/result";
import { startOpenai } from "../backends/servers/openai-server.js";
import { startWebui, type WebuiBehaviour, type WebuiServer } from "../backends/servers/webui-server.js";
import { temporaryFolder } from "../pipeline/runs.js";
import { laurel, type Outcome } from "./terminal.js";

const started: { close(): Promise<void> }[] = [];
afterEach(async () => {
  delete process.env["LAUREL_TEST_PASSWORD"];
  await Promise.all(started.splice(0).map((one) => one.close()));
});

const PASSWORD = "correct-horse-battery";

/** A WebUI behind a password, its configuration, and a folder for runs. */
async function webui(behaviour: WebuiBehaviour = {}): Promise<{ server: WebuiServer; config: string; out: string }> {
  const server = await startWebui({ credentials: `ann:${PASSWORD}`, ...behaviour });
  started.push(server);
  process.env["LAUREL_TEST_PASSWORD"] = PASSWORD;
  const out = await temporaryFolder();
  const config = join(await temporaryFolder(), "mine.yaml");
  const lines = [
    "backend: webui",
    `url: ${server.url}`,
    "user: ann",
    "password: { env: LAUREL_TEST_PASSWORD }",
    "batch: 2",
    "retries: 1",
  ];
  await writeFile(config, `${lines.join("\n")}\n`);
  return { server, config, out };
}

const generate = (config: string, out: string, ...more: string[]): Promise<Outcome> =>
  laurel([
    "generate",
    "a cat",
    "--backend",
    config,
    "-n",
    "5",
    "--seed",
    "40",
    "--width",
    "64",
    "--height",
    "64",
    "--out",
    out,
    "--json",
    ...more,
  ]);

/** All that lies in a folder, as one text. */
async function contents(folder: string): Promise<string> {
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  return (await Promise.all(files.map((entry) => readFile(join(entry.parentPath, entry.name), "latin1")))).join("\n");
}

describe("generate --backend", () => {
  it("draws at the server and records what it reports, and no secret", async () => {
    const { server, config, out } = await webui({ otherSeeds: true });
    const { exitCode, stdout, stderr } = await generate(config, out, "--sampler", "euler-a");
    expect([exitCode, stderr.includes("expected seeds from 40")]).toEqual([0, true]);
    const result = JSON.parse(stdout) as RunResultJson;
    expect(result).toMatchObject({ backend: "webui", best: { source: `webui ${server.url}`, revisedPrompt: null } });
    expect(result.candidates.map(({ seed, reportedSeed }) => (reportedSeed ?? 0) - seed)).toEqual([
      1000, 1000, 1000, 1000, 1000,
    ]);
    const manifest = JSON.parse(await readFile(join(result.directory, "run.json"), "utf8")) as {
      config: object;
      models: object;
    };
    expect(manifest.config).toMatchObject({
      sampler: "euler-a",
      model: null,
      backend: { backend: "webui", url: server.url, user: "ann", password: { env: "LAUREL_TEST_PASSWORD" } },
    });
    expect(manifest.models).toMatchObject({
      backend: { name: "webui", model: "tiny.safetensors [abc]", path: null, digest: null },
    });
    const everything = await contents(out);
    expect(everything).toContain("the server reported seed 1040");
    for (const secret of [PASSWORD, Buffer.from(`ann:${PASSWORD}`).toString("base64")])
      expect(everything).not.toContain(secret);
  });

  it("is taken up again and repeated with the same server, and refused when its checkpoint is another", async () => {
    const { server, config, out } = await webui();
    const drops = Array.from({ length: 9 }, () => ({ kind: "status", status: 503 }) as const);
    server.fail([{ kind: "none" }, ...drops], /txt2img/);
    const broken = await generate(config, out, "--batch", "2");
    expect(broken.exitCode).toBe(3);
    expect(broken.stderr).toMatch(/go on with: laurel resume/);
    server.unfail();
    const [run] = await readdir(out);
    server.behaviour.checkpoint = "other.safetensors";
    const refused = await laurel(["resume", join(out, run!)]);
    expect([
      refused.exitCode,
      refused.stderr.includes("expected the generator of the run, webui tiny.safetensors"),
    ]).toEqual([5, true]);
    server.behaviour.checkpoint = "tiny.safetensors [abc]";
    const resumed = await laurel(["resume", join(out, run!), "--json"]);
    expect(resumed.exitCode).toBe(0);
    expect((JSON.parse(resumed.stdout) as RunResultJson).candidates.map(({ seed }) => seed).sort()).toEqual([
      40, 41, 42, 43, 44,
    ]);
    const again = await laurel(["rerun", join(out, run!, "run.json"), "--out", out, "--json"]);
    expect(again.exitCode).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({ reproduced: { compared: 5, different: [] } });
  });

  it("says what a server cannot honour", async () => {
    const server = await startOpenai({ revise: true });
    started.push(server);
    const folder = await temporaryFolder();
    const config = join(folder, "openai.yaml");
    await writeFile(config, `backend: openai\nurl: ${server.url}/v1\nmodel: tiny\n`);
    const { exitCode, stdout } = await generate(config, join(folder, "out"), "--negative", "blur", "--steps", "9");
    const { warnings, best } = JSON.parse(stdout) as RunResultJson;
    expect([exitCode, best?.revisedPrompt]).toEqual([0, "a cat, in oil"]);
    expect(warnings.join("\n")).toMatch(
      /a negative prompt is not supported.*\n.*steps is not supported[^]*takes no seeds[^]*rewrote the prompt/,
    );
  });

  it.each([
    [
      "a server that is not there",
      "backend: webui\nurl: http://127.0.0.1:64998\nretries: 0\n",
      [],
      3,
      /connection refused; is the server running\?/,
    ],
    [
      "a folder",
      "backend: folder\npath: .\n",
      [],
      2,
      /expected a backend that draws, got folder; .*score-folder\.yaml/,
    ],
    ["another key", "backend: webui\nhost: x\n", [], 2, /mine\.yaml:2:1: unknown key host/],
    ["--model beside it", "backend: webui\n", ["--model", "x"], 2, /--model: expected none beside the backend webui/],
    [
      "--variant beside it",
      "backend: webui\n",
      ["--variant", "fp16"],
      2,
      /--variant: expected none beside the backend webui/,
    ],
  ])("refuses %s", async (_, yaml, more, code, message) => {
    const folder = await temporaryFolder();
    const config = join(folder, "mine.yaml");
    await writeFile(config, yaml);
    const { exitCode, stderr, stdout } = await generate(config, folder, ...more);
    expect(stderr).toMatch(message);
    expect([exitCode, stdout]).toEqual([code, ""]);
    expect(await readdir(folder)).toEqual(["mine.yaml"]);
  });

  it("says which backends there are", async () => {
    const { exitCode, stderr } = await generate("webiu", await temporaryFolder());
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/expected local, .*webui.* or a YAML file, got webiu; did you mean webui\?/);
  });

  it("says that the credentials are wrong", async () => {
    const { config, out } = await webui();
    process.env["LAUREL_TEST_PASSWORD"] = "wrong-password";
    const { exitCode, stderr } = await generate(config, out);
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/401: Incorrect username or password/);
    expect(await readdir(out)).toEqual([]);
  });
});

describe("doctor --backend", () => {
  it("tells whether the server can be used, and what to do when not", async () => {
    const { server, config } = await webui();
    expect(await checkBackend(await loadBackendConfig(config))).toMatchObject({
      status: "ok",
      detail: expect.stringContaining(`webui ${server.url}: tiny.safetensors [abc], `) as string,
    });
    process.env["LAUREL_TEST_PASSWORD"] = "wrong-password";
    expect(await checkBackend(await loadBackendConfig(config))).toMatchObject({ status: "fail", exitCode: 3 });
    await server.close();
    const bad = await laurel(["doctor", "--backend", config]);
    expect(bad.exitCode).toBe(3);
    expect(bad.stdout).toMatch(/fail {2}backend {6}webui .*connection refused.*\n {19}start the server/);
  });
});

describe("run --dry-run", () => {
  it("tells whether the server can be used, and stays a plan when not", async () => {
    const { server, config } = await webui();
    const folder = await temporaryFolder();
    const file = join(folder, "pipeline.yaml");
    const backend = `backend:\n  use: ${config}\n`;
    await writeFile(
      file,
      `version: 1\nname: try\nprompts: [a cat]\n${backend}steps:\n  - generate: { count: 2 }\n  - score: {}\n`,
    );
    const good = await laurel(["run", file, "--dry-run"]);
    expect(good.stderr).toBe("");
    expect(good.stdout).toContain(`backend    webui ${server.url}: tiny.safetensors`);
    await server.close();
    const bad = await laurel(["run", file, "--dry-run"]);
    expect(bad.exitCode).toBe(0);
    expect(bad.stderr).toMatch(/warning: the backend cannot be used now: start the server/);
  });
});
