import { cp, mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkFolder } from "#laurel/installation/check-storage";
import { checkModelMemory } from "#laurel/installation/check-devices";
import { checkMachine, checkNode } from "#laurel/installation/check-system";
import { diagnose, exitCodeOf } from "#laurel/installation/diagnose";
import type { Check } from "#laurel/installation/check";
import { judgeSelfTest, readSelfTestReference } from "#laurel/installation/self-test";
import { EMBEDDED_MODELS, EMBEDDED_REFERENCE } from "#laurel/pipeline/package-info";
import { temporaryFolder } from "../pipeline/runs.js";
import { environmentOf } from "./folders.js";

async function findings(options: Parameters<typeof diagnose>[0]): Promise<Check[]> {
  const checks: Check[] = [];
  for await (const check of diagnose(options)) checks.push(check);
  return checks;
}

test("a whole installation passes; the self-test gives what was recorded", async () => {
  const home = await temporaryFolder();
  const checks = await findings({ out: join(home, "runs"), environment: environmentOf(home) });
  expect(checks.filter(({ status }) => status === "fail")).toEqual([]);
  expect(checks.map(({ name }) => name)).toEqual(
    ["laurel", "node", "platform", "processor", "memory", "onnxruntime", "devices", "generator", "reward", "sharp", "cache", "hub cache", "outputs", "models", "self-test"], // prettier-ignore
  );
  expect(checks.find(({ name }) => name === "onnxruntime")?.facts).toMatchObject({
    providers: expect.arrayContaining([{ name: "cpu", bundled: true }]) as unknown,
  });
  expect(checks.find(({ name }) => name === "devices")).toMatchObject({ status: "ok", facts: { default: "cpu" } });
  const memory = checks.find(({ name }) => name === "generator");
  expect(memory?.detail).toMatch(
    /stable-diffusion takes about \d+\.\d MB of memory, with --low-memory \d+\.\d MB; [\d.]+ GB are free$/,
  );
  expect(checks.at(-1)?.facts).toMatchObject({ passed: true, loadMs: expect.any(Number) as number });
  expect(exitCodeOf(checks)).toBe(0);
});

test("a damaged model is found by its digest, and the test of it fails with exit code 5", async () => {
  const folder = await temporaryFolder();
  const reward = join(folder, "image-reward");
  await cp(EMBEDDED_MODELS.reward, reward, { recursive: true });
  await truncate(join(reward, "ImageReward.safetensors"), 1_000_000);
  const checks = await findings({ models: { ...EMBEDDED_MODELS, reward }, environment: environmentOf(folder) });
  const failed = checks.filter(({ status }) => status === "fail");
  expect(failed.map(({ name, exitCode }) => [name, exitCode])).toEqual([
    ["models", 5],
    ["self-test", 5],
  ]);
  expect(failed[0]?.detail).toMatch(/image-reward: expected [0-9a-f]{12}, got [0-9a-f]{12}$/);
  expect(failed[1]?.detail).toContain("ImageReward.safetensors");
  expect(exitCodeOf(checks)).toBe(5);
});

test("a model that needs more memory than there is gets a warning with what to do", async () => {
  const model = { kind: "generator", path: EMBEDDED_MODELS.generator } as const;
  const { facts } = await checkModelMemory(model);
  const { need, lowMemory } = facts as { need: number; lowMemory: number };
  // 4.6 million parameters in float32, and some
  expect(need).toBeGreaterThan(20e6);
  expect(lowMemory).toBeLessThan(need);
  expect(await checkModelMemory(model, need)).toMatchObject({ status: "ok" });
  expect(await checkModelMemory(model, need - 1)).toMatchObject({ status: "warn", hint: "give --low-memory" });
  expect(await checkModelMemory(model, lowMemory - 1)).toMatchObject({
    status: "warn",
    hint: "take a smaller model, or a machine with more memory",
  });
  const absent = await checkModelMemory({ kind: "reward", path: "/nowhere" });
  expect(absent).toMatchObject({ status: "fail", exitCode: 5 });
});

test("the self-test allows rounding and nothing more", async () => {
  const reference = await readSelfTestReference(EMBEDDED_REFERENCE);
  const { score, picture } = reference;
  expect(judgeSelfTest(reference, reference)).toEqual({ scoreDifference: 0, pictureDifference: 0, identical: true, passed: true }); // prettier-ignore
  expect(judgeSelfTest({ score: score + 1e-5, picture }, reference)).toMatchObject({ identical: false, passed: true });
  expect(judgeSelfTest({ score: score + 0.002, picture }, reference).passed).toBe(false);
  expect(judgeSelfTest({ score: Number.NaN, picture }, reference).passed).toBe(false);
  const means = picture.means.map((mean, i) => (i === 7 ? mean + 0.3 : mean));
  expect(judgeSelfTest({ score, picture: { ...picture, means } }, reference).passed).toBe(false);
  const folder = await temporaryFolder();
  await writeFile(join(folder, "self-test.json"), "{}");
  await expect(readSelfTestReference(join(folder, "self-test.json"))).rejects.toThrow(
    /expected the recorded self-test/,
  );
});

test.each([
  ["20.19.0", "ok"],
  ["20.20.2", "ok"],
  ["22.0.0", "ok"],
  ["20.9.0", "fail"],
  ["18.20.4", "fail"],
])("node %s: %s", (version, status) => {
  expect(checkNode(version, ">=20.19").status).toBe(status);
});

test("little memory is a warning", () => {
  expect(checkMachine(2, 5e8)[1]).toMatchObject({ name: "memory", status: "warn", facts: { available: 5e8 } });
  expect(checkMachine(2, 5e9)[1]).toMatchObject({ status: "ok" });
});

test("a folder is measured where it exists, and where it does not the nearest above it counts", async () => {
  const folder = await temporaryFolder();
  const options = { unwritable: "fail", hint: "make space" } as const;
  await mkdir(join(folder, "there"));
  await writeFile(join(folder, "there", "file"), Buffer.alloc(1234));
  expect((await checkFolder("x", join(folder, "there"), options)).facts).toMatchObject({ exists: true, writable: true, bytes: 1234 }); // prettier-ignore
  expect((await checkFolder("x", join(folder, "a", "b"), options)).facts).toMatchObject({ exists: false, writable: true }); // prettier-ignore
  expect(await checkFolder("x", join(folder, "there", "file"), options)).toMatchObject({ status: "fail", hint: "make space" }); // prettier-ignore
  // The superuser may write everywhere.
  if (process.getuid?.() !== 0) {
    await mkdir(join(folder, "closed"), { mode: 0o500 });
    const closed = await checkFolder("x", join(folder, "closed"), options);
    expect(closed).toMatchObject({ status: "fail", hint: "make space", facts: { writable: false } });
  }
});

test("the exit code is the models', else the device's, else 1", () => {
  const check = (status: Check["status"], exitCode?: number): Check => ({ name: "x", status, detail: "", ...(exitCode === undefined ? {} : { exitCode }) }); // prettier-ignore
  expect(exitCodeOf([check("ok"), check("warn")])).toBe(0);
  expect(exitCodeOf([check("fail"), check("ok")])).toBe(1);
  expect(exitCodeOf([check("fail"), check("fail", 3)])).toBe(3);
  expect(exitCodeOf([check("fail", 3), check("fail", 5)])).toBe(5);
});
