import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { resolveModel, resolveReward } from "#laurel/library/named-models";
import { addressFault, pullAddress } from "#laurel/weights/hub/address";
import { catalogueNames, findModel, findReward } from "#laurel/weights/hub/catalogue";
import { HubClient } from "#laurel/weights/hub/client";
import { addressFile } from "#laurel/weights/hub/installed";
import { hubSettings } from "#laurel/weights/hub/settings";
import { sha256 } from "#laurel/util/files";
import { expect, onTestFinished, test } from "vitest";
import { temporaryFolder } from "../pipeline/runs.js";
import { contents, etagOf, type FakeHub, type HubRepository, startHub, text } from "../weights/hub/server.js";
import { laurel, type Outcome } from "./terminal.js";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const SD = "stable-diffusion-v1-5/stable-diffusion-v1-5";

/** A hub with repositories that hold every file the catalogue names, and one more. */
async function catalogueHub(): Promise<{ hub: FakeHub; cache: string; environment: Record<string, string> }> {
  const repositories: Record<string, HubRepository> = {};
  const add = (id: string, paths: readonly string[], seed: number): void => {
    const files = paths.map((path, i) => [
      path,
      path.endsWith(".json") ? text("{}") : { bytes: contents(1_500, seed + i) },
    ]);
    repositories[id] = { commit: COMMIT, files: { ...repositories[id]?.files, ...Object.fromEntries(files) } };
  };
  add(SD, [...((await findModel("sd-1.5"))?.files ?? []), "unet/diffusion_pytorch_model.fp16.safetensors"], 1);
  for (const name of ["image-reward-v1.0", "pickscore-v1", "hps-v2.1"]) {
    for (const part of Object.values((await findReward(name))?.parts ?? {})) {
      if ("repository" in part) add(part.repository, "file" in part ? [part.file] : part.files, 100);
    }
  }
  const hub = await startHub(repositories);
  const home = await temporaryFolder();
  const cache = join(home, "hub");
  return { hub, cache, environment: { HOME: home, HF_HUB_CACHE: cache, HF_ENDPOINT: hub.endpoint } };
}

test("a model is pulled by its name, with its licence shown, found, checked and removed", async () => {
  const { cache, environment } = await catalogueHub();
  const run = (...args: string[]): Promise<Outcome> => laurel(["models", ...args], { environment });
  const snapshot = join(cache, `models--${SD.replace("/", "--")}`, "snapshots", COMMIT);
  expect(await run("path", "sd-1.5")).toEqual({
    exitCode: 5,
    stdout: "",
    stderr: `error: sd-1.5: expected ${SD} in ${cache}, got none: not cached; run laurel models pull sd-1.5\n`,
  });
  const pulled = await run("pull", "sd-1.5");
  expect([pulled.exitCode, pulled.stdout]).toEqual([0, `${snapshot}\n`]);
  expect(pulled.stderr).toBe(
    "Stable Diffusion 1.5: CreativeML Open RAIL-M, https://huggingface.co/spaces/CompVis/stable-diffusion-license\n" +
      "12 of 12 files fetched (6.0 kB); 1 other files were left, --include names what else to take\n",
  );
  expect(await run("path", "sd-1.5")).toEqual({ exitCode: 0, stdout: `${snapshot}\n`, stderr: "" });
  expect(await resolveModel("sd-1.5", environment)).toBe(snapshot);
  const more = await run("pull", "sd-1.5", "--include", "unet/*.fp16.*", "--json", "--quiet");
  const json = JSON.parse(more.stdout) as { repositories: { files: { path: string; fetched: boolean }[] }[] };
  expect(json.repositories[0]?.files.filter(({ fetched }) => fetched).map(({ path }) => path)).toEqual([
    "unet/diffusion_pytorch_model.fp16.safetensors",
  ]);

  expect(await run("verify")).toMatchObject({ exitCode: 0, stdout: "", stderr: expect.stringMatching(/^13 files \(.*\), 0 damaged\n$/) as string }); // prettier-ignore
  await writeFile(join(snapshot, "vae", "diffusion_pytorch_model.safetensors"), "version https://git-lfs.github.com/spec/v1\nsize 9\n"); // prettier-ignore
  const damaged = await run("verify", "sd-1.5");
  expect(damaged.exitCode).toBe(5);
  expect(damaged.stdout).toMatch(
    /^stable-diffusion-v1-5\/stable-diffusion-v1-5@01234567: vae\/diffusion_pytorch_model\.safetensors: expected sha256 \w+, got \w+ \(50 bytes, a git LFS pointer to 9 bytes/,
  );
  expect((await run("pull", "sd-1.5", "--check", "--quiet")).exitCode).toBe(0);
  expect((await run("verify", "sd-1.5")).exitCode).toBe(0);

  const asked = await run("rm", "sd-1.5");
  expect([asked.exitCode, asked.stderr.split("\n")[1]]).toEqual([2, "error: models rm: expected a terminal to ask on, or --yes, got neither"]); // prettier-ignore
  const removed = await run("rm", "sd-1.5", "--yes");
  expect([removed.exitCode, removed.stderr]).toEqual([0, `${SD}  01234567  7.5 kB\nremoved 7.5 kB\n`]);
  expect((await readdir(cache)).sort()).toEqual([".locks", "CACHEDIR.TAG"]);
});

test("a reward of several repositories is pulled whole; what another reward needs stays when it is removed", async () => {
  const { cache, environment } = await catalogueHub();
  const run = (...args: string[]): Promise<Outcome> => laurel(["models", ...args], { environment });
  const at = (id: string, ...path: string[]): string => join(cache, `models--${id.replace("/", "--")}`, "snapshots", COMMIT, ...path); // prettier-ignore
  const pulled = await run("pull", "image-reward-v1.0");
  expect(pulled.stdout.trimEnd().split("\n").map((line) => line.split("\t"))).toEqual([
    ["weights", at("zai-org/ImageReward", "ImageReward.pt")],
    ["config", at("zai-org/ImageReward", "med_config.json")],
    ["tokenizer", at("google-bert/bert-base-uncased")],
  ]); // prettier-ignore
  const reward = await resolveReward("image-reward-v1.0", environment);
  expect(reward?.kind).toBe("image-reward");
  // as a run's manifest names it
  expect(await resolveReward(reward?.parts["weights"] ?? "", environment)).toEqual(reward);

  await run("pull", "pickscore-v1", "--quiet");
  await run("pull", "hps-v2.1", "--quiet");
  const removed = await run("rm", "hps-v2.1", "--yes");
  expect(removed.stderr).toMatch(
    /^xswu\/HPSv2 {2}01234567 {2}1\.5 kB\nlaion\/CLIP-ViT-H-14-laion2B-s32B-b79K {2}stays: pickscore-v1 needs it\nremoved 1\.5 kB\n$/,
  );
  expect((await run("path", "pickscore-v1")).exitCode).toBe(0);
  expect((await run("path", "hps-v2.1")).exitCode).toBe(5);
});

test("what is no name is told with the closest, a reward is no model, and --include wants one repository", async () => {
  const { environment, hub } = await catalogueHub();
  const run = async (...args: string[]): Promise<string> => (await laurel(["models", ...args], { environment })).stderr;
  expect(await run("pull", "sd1.5")).toMatch(/^error: sd1\.5: expected sd-1\.5, .* or ORG\/REPO\[@REVISION\], got another name; did you mean sd-1\.5\?\n$/); // prettier-ignore
  expect(await run("pull", "zai-org/ImageRewards")).toMatch(
    /got none of that name; did you mean zai-org\/ImageReward\?\n$/,
  );
  expect(await run("pull", "image-reward-v1.0", "--include", "*")).toMatch(/error: --include: expected a model of one repository, got image-reward-v1\.0/); // prettier-ignore
  await expect(resolveModel("image-reward-v1.0", environment)).rejects.toThrow(
    "expected a model that draws, got a reward",
  );
  await expect(resolveModel("sd-turob", environment)).rejects.toThrow("did you mean sd-turbo?");
  expect(await resolveModel("./sd-turob", environment)).toBe("./sd-turob");
  environment["HF_HUB_OFFLINE"] = "1";
  const before = hub.asked.length;
  expect(await run("pull", "sd-1.5")).toMatch(
    /expected to be let onto the network, got HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE\n$/,
  );
  expect(hub.asked.length).toBe(before);
});

test("every entry of the catalogue can be read, and has a licence with a link", async () => {
  expect(catalogueNames("model")).toEqual(["sd-1.5", "sd-2.1", "sd-turbo", "sdxl-base", "sdxl-turbo"]);
  expect(catalogueNames("reward")).toEqual(["aesthetic-v2", "blip-large", "clip-vit-l-14", "hps-v2.1", "image-reward-v1.0", "pickscore-v1"]); // prettier-ignore
  for (const name of catalogueNames()) {
    const entry = (await findModel(name)) ?? (await findReward(name));
    expect([name, entry?.licences.every(({ link }) => link.startsWith("https://"))]).toEqual([name, true]);
  }
});

test("a file at a plain address is fetched once, held to its hash where that is known, and no web page is taken for it", async () => {
  const head = { bytes: contents(3_000, 4), large: false };
  const hub = await startHub({ "some/files": { commit: COMMIT, files: { "head.pth": head } } });
  const environment = { HOME: await temporaryFolder(), HF_ENDPOINT: hub.endpoint };
  const client = new HubClient(await hubSettings(environment), { retries: 1, backoffMs: 5 });
  onTestFinished(() => client.close());
  const part = {
    url: `${hub.endpoint}/some/files/resolve/main/head.pth`,
    file: "head.pth",
    sha256: sha256(head.bytes),
  };
  expect(await pullAddress(client, part, {}, environment)).toMatchObject({ bytes: 3_000, fetched: true });
  const file = addressFile(part, environment);
  expect(Buffer.compare(await readFile(file), head.bytes)).toBe(0);
  expect((await pullAddress(client, part, {}, environment)).fetched).toBe(false);
  await writeFile(file, "broken");
  expect(await addressFault(part, file)).toBe(`expected sha256 ${part.sha256}, got ${sha256("broken")}`);
  expect((await pullAddress(client, part, { check: true }, environment)).fetched).toBe(true);
  expect(await addressFault(part, file)).toBeUndefined();

  const other = { ...part, url: `${part.url}?2` };
  hub.fail({ url: /head\.pth/, bytes: contents(3_000, 5), times: 2 });
  await expect(pullAddress(client, other, {}, environment)).rejects.toThrow(`head.pth: expected sha256 ${etagOf({ ...head, large: true })}, got`); // prettier-ignore
  const unknown = { ...part, url: `${part.url}?3`, sha256: null };
  hub.fail({ url: /head\.pth/, bytes: text("<!doctype html><title>Sorry</title>").bytes, times: 2 });
  await expect(pullAddress(client, unknown, {}, environment)).rejects.toThrow(
    "head.pth: expected the file, got a web page",
  );
});
