import { mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { resolveModel } from "#laurel/library/named-models";
import { isBlobLocked, withBlobLock } from "#laurel/weights/hub/blob-lock";
import { HubCache } from "#laurel/weights/hub/cache";
import { matchesAny } from "#laurel/weights/hub/globs";
import { planRemoval, remove } from "#laurel/weights/hub/remove";
import { parseRepository } from "#laurel/weights/hub/repository";
import { usualFiles } from "#laurel/weights/hub/selection";
import { hubSettings } from "#laurel/weights/hub/settings";
import { blobLock, linkBlob, writeRef } from "#laurel/weights/hub/store";
import { snapshotsOf, verifySnapshot } from "#laurel/weights/hub/verify";
import { expect, test } from "vitest";
import { FIXTURES } from "../../installation/folders.js";
import { temporaryFolder } from "../../pipeline/runs.js";
import { contents, etagOf, text } from "./server.js";

const [OLD, NEW] = ["a".repeat(40), "b".repeat(40)];
const ID = "laurel/tiny";

/** A cache with two revisions that share a file. */
async function twoRevisions(): Promise<HubCache> {
  const cache = new HubCache(await temporaryFolder());
  const shared = { bytes: contents(2_000, 1) };
  const [before, after] = [text("{}"), text('{"a":1}')];
  await mkdir(join(cache.repository(ID), "blobs"), { recursive: true });
  for (const file of [shared, before, after]) await writeFile(cache.blob(ID, etagOf(file)), file.bytes);
  const link = (commit: string, path: string, file: { bytes: Uint8Array }): Promise<void> =>
    linkBlob(cache, { id: ID, commit, path, etag: etagOf(file) }, true);
  await link(OLD, "config.json", before);
  await link(OLD, "unet/model.safetensors", shared);
  await link(NEW, "config.json", after);
  await link(NEW, "unet/model.safetensors", shared);
  await writeRef(cache, ID, "main", NEW);
  await writeRef(cache, ID, "refs/pr/1", OLD);
  return cache;
}

test("removing a revision takes its name and the files that no other revision refers to", async () => {
  const cache = await twoRevisions();
  const plan = await planRemoval(cache, ID, [OLD]);
  expect(plan.blobs).toEqual([{ etag: etagOf(text("{}")), bytes: 2 }]);
  expect(await remove(cache, plan)).toEqual({ id: ID, commits: [OLD], blobs: 1, bytes: 2, inUse: 0 });
  expect(await cache.snapshot({ id: ID, revision: "refs/pr/1" })).toBeUndefined();
  expect(await readdir(join(cache.repository(ID), "refs"))).toEqual(["main"]);
  const left = await cache.snapshot({ id: ID, revision: "main" });
  expect((await verifySnapshot(left!)).map(({ path, problem }) => [path, problem])).toEqual([
    ["config.json", null],
    ["unet/model.safetensors", null],
  ]);
});

test("removing all revisions leaves nothing of the repository", async () => {
  const cache = await twoRevisions();
  await remove(cache, await planRemoval(cache, ID));
  expect(await readdir(cache.folder)).toEqual([]);
});

test("a file that another process fetches stays when the rest is removed", async () => {
  const cache = await twoRevisions();
  const etag = etagOf(text("new"));
  await writeFile(`${cache.blob(ID, etag)}.1a0e0000.incomplete`, "ne");
  const lock = blobLock(cache, ID, etag);
  await withBlobLock(lock, undefined, async () => {
    expect(await isBlobLocked(lock)).toBe(true);
    expect((await remove(cache, await planRemoval(cache, ID))).inUse).toBe(1);
  });
  expect(await isBlobLocked(lock)).toBe(false);
  expect(await readdir(join(cache.repository(ID), "blobs"))).toEqual([`${etag}.1a0e0000.incomplete`]);
});

test("verifying names files whose bytes are others, and links to nothing", async () => {
  const cache = await twoRevisions();
  await writeFile(cache.blob(ID, etagOf({ bytes: contents(2_000, 1) })), "<!doctype html><html>no</html>");
  await symlink("../../blobs/none", join(cache.snapshotFolder(ID, NEW), "gone.bin"));
  const [, latest] = await snapshotsOf(cache, ID);
  const found = await verifySnapshot(latest!);
  expect(found.map(({ path, problem }) => [path, problem])).toEqual([
    ["config.json", null],
    ["gone.bin", "expected a file, got a link to nothing"],
    [
      "unet/model.safetensors",
      expect.stringMatching(/^expected sha256 [0-9a-f]{64}, got [0-9a-f]{64} \(30 bytes, a web page \(/) as string,
    ],
  ]);
});

test("a revision is found through its ref, a commit is itself, and a hostile path is never followed", async () => {
  const cache = await twoRevisions();
  expect((await cache.snapshot({ id: ID, revision: "main" }))?.commit).toBe(NEW);
  expect((await cache.snapshot({ id: ID, revision: OLD }))?.commit).toBe(OLD);
  expect(await cache.snapshot({ id: ID, revision: "other" })).toBeUndefined();
  expect(await cache.file({ id: ID, revision: "main" }, "unet/model.safetensors")).toEqual({
    path: join(cache.snapshotFolder(ID, NEW), "unet", "model.safetensors"),
  });
  expect(await cache.file({ id: ID, revision: "main" }, "../../refs/main")).toBeUndefined();
  await writeFile(cache.ref(ID, "main"), "../../../etc");
  expect(await cache.snapshot({ id: ID, revision: "main" })).toBeUndefined();
});

test("what Python wrote is found: files, a revision, and what the repository is known not to have", async () => {
  const fixture = JSON.parse(await readFile(join(FIXTURES, "weights", "hub-cache.json"), "utf8")) as {
    readonly entries: Readonly<Record<string, { readonly link?: string; readonly content?: string }>>;
  };
  const cache = new HubCache(await temporaryFolder());
  for (const [name, { link, content = "" }] of Object.entries(fixture.entries)) {
    const path = join(cache.folder, name);
    await mkdir(dirname(path), { recursive: true });
    await (link === undefined ? writeFile(path, content, "latin1") : symlink(link, path));
  }
  const repository = { id: ID, revision: "main" };
  const snapshot = await cache.snapshot(repository);
  expect(snapshot?.commit).toBe("0123456789abcdef0123456789abcdef01234567");
  expect((await verifySnapshot(snapshot!)).map(({ path, problem, hashed }) => [path, problem, hashed])).toEqual([
    ["config.json", null, true],
    ["unet/config.json", null, true],
    ["unet/deep/model.safetensors", null, true],
  ]);
  expect(await cache.file(repository, "vae/config.json")).toBe("absent");
  expect(await cache.file(repository, "text_encoder/config.json")).toBeUndefined();
  const environment = { HF_HUB_CACHE: cache.folder, HOME: cache.folder };
  expect(await resolveModel(ID, environment)).toBe(snapshot?.path);
  const config = join(snapshot?.path ?? "", "unet", "config.json");
  expect(await resolveModel(`${ID}@main:unet/config.json`, environment)).toBe(config);
  await expect(resolveModel(`${ID}:vae/config.json`, environment)).rejects.toThrow(
    "laurel/tiny:vae/config.json: expected vae/config.json in laurel/tiny, got a repository without",
  );
  await expect(resolveModel(`${ID}@v2`, environment)).rejects.toThrow(
    `laurel/tiny@v2: expected laurel/tiny@v2 in ${cache.folder}, got none: not cached; run laurel models pull laurel/tiny@v2`,
  );
});

test("a link is replaced at once where it was wrong, and nothing else is left", async () => {
  const cache = await twoRevisions();
  const file = join(cache.snapshotFolder(ID, NEW), "config.json");
  await linkBlob(cache, { id: ID, commit: NEW, path: "config.json", etag: etagOf(text("{}")) }, true);
  expect(await readFile(file, "utf8")).toBe("{}");
  expect((await readdir(join(cache.repository(ID), "blobs"))).filter((name) => name.endsWith(".link"))).toEqual([]);
  expect((await stat(file)).isFile()).toBe(true);
});

test("names of repositories are taken apart, and what is none is none", () => {
  const main = { id: "a/b", revision: "main", file: undefined };
  expect(parseRepository("a/b")).toEqual(main);
  expect(parseRepository("a/b@refs/pr/1")).toEqual({ ...main, revision: "refs/pr/1" });
  expect(parseRepository("a/b@v1:unet/x.bin")).toEqual({ id: "a/b", revision: "v1", file: "unet/x.bin" });
  for (const text of [
    "a",
    "a/b/c",
    "../b",
    "a/..",
    "a/b@../x",
    "a/b:../x",
    "a/b:/etc",
    "a--c/b",
    "-a/b",
    "./a",
    "a/b@",
  ]) {
    expect([text, parseRepository(text)]).toEqual([text, undefined]);
  }
});

test("patterns are Python's: a star crosses folders, a folder stands for all in it", () => {
  const rows: [pattern: string, path: string, matches: boolean][] = [
    ["*.json", "unet/config.json", true],
    ["unet/", "unet/deep/config.json", true],
    ["unet/*", "vae/config.json", false],
    ["model-0000?-of-00002.bin", "model-00001-of-00002.bin", true],
    ["[mv]*.bin", "vae.bin", true],
    ["[!m]*.bin", "model.bin", false],
    ["a.b", "a+b", false],
  ];
  for (const [pattern, path, matches] of rows)
    expect([pattern, matchesAny(path, [pattern])]).toEqual([pattern, matches]);
});

test("of a repository without a name, weights are taken once: safetensors, without a variant, of its components", () => {
  const pipeline = [
    "model_index.json",
    "README.md",
    "v1-5-pruned.safetensors",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "vae/diffusion_pytorch_model.fp16.bin",
    "safety_checker/model.safetensors",
    "text_encoder/flax_model.msgpack",
    "vae_decoder/model.onnx",
    "preview.png",
  ];
  expect(usualFiles(pipeline)).toEqual([
    "model_index.json",
    "README.md",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.fp16.bin",
  ]);
  expect(usualFiles(["config.json", "pytorch_model.bin", "tf_model.h5"])).toEqual(["config.json", "pytorch_model.bin"]);
  const exported = ["model_index.json", "unet/model.onnx", "unet/model.onnx_data"];
  expect(usualFiles(exported)).toEqual(exported);
});

test("the environment means what it means to Python", async () => {
  const home = await temporaryFolder();
  await mkdir(join(home, "hf"));
  await writeFile(join(home, "hf", "token"), "hf_of_the_file\n");
  const read = async (more: Record<string, string>) => {
    const { cache, endpoint, token, offline, symlinks } = await hubSettings({ HOME: home, ...more });
    return { cache, endpoint, token: token?.reveal(), offline, symlinks };
  };
  expect(await read({})).toEqual({
    cache: join(home, ".cache", "huggingface", "hub"),
    endpoint: "https://huggingface.co",
    token: undefined,
    offline: false,
    symlinks: true,
  });
  expect(
    await read({ HF_HOME: "~/hf", HF_ENDPOINT: "https://mirror.example/", TRANSFORMERS_OFFLINE: "1", HF_HUB_DISABLE_SYMLINKS: "ON" }), // prettier-ignore
  ).toEqual({
    cache: join(home, "hf", "hub"),
    endpoint: "https://mirror.example",
    token: "hf_of_the_file",
    offline: true,
    symlinks: false,
  });
  expect((await read({ XDG_CACHE_HOME: "/x" })).cache).toBe("/x/huggingface/hub");
  expect((await read({ HUGGINGFACE_HUB_CACHE: "$HOME/c", HF_HUB_OFFLINE: "yes" })).cache).toBe(join(home, "c"));
  const chosen = await read({ HF_HUB_CACHE: "/a", HUGGINGFACE_HUB_CACHE: "/b", HF_TOKEN: " hf_given ", HF_TOKEN_PATH: "~/hf/token" }); // prettier-ignore
  expect([chosen.cache, chosen.token]).toEqual(["/a", "hf_given"]);
  expect((await read({ HF_TOKEN_PATH: "~/hf/token" })).token).toBe("hf_of_the_file");
  await expect(read({ HF_ENDPOINT: "ftp://user:pass@x" })).rejects.toThrow(
    'HF_ENDPOINT: expected an http(s) address without credentials, got "ftp://[redacted]@x"',
  );
  await expect(read({ HF_TOKEN: "two words" })).rejects.toThrow(
    "HF_TOKEN: expected one word of ASCII, got other characters (not shown here)",
  );
});
