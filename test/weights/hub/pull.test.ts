import { chmod, lstat, mkdir, readdir, readFile, readlink, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { HubCache } from "#laurel/weights/hub/cache";
import { HubClient, type ClientOptions } from "#laurel/weights/hub/client";
import { pullRepository, type PullOptions, type PullRequest, type Pulled } from "#laurel/weights/hub/pull";
import { hubSettings, type HubSettings } from "#laurel/weights/hub/settings";
import { expect, onTestFinished, test } from "vitest";
import { temporaryFolder } from "../../pipeline/runs.js";
import { contents, etagOf, type FakeHub, type HubRepository, startHub, text } from "./server.js";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const ID = "laurel/tiny";
const WEIGHTS = { bytes: contents(300_000, 1) };
const OTHER = { bytes: contents(5_000, 2) };
const FILES = {
  "config.json": text('{"model_type":"tiny"}'),
  "model.safetensors": WEIGHTS,
  "unet/deep/weights.safetensors": OTHER,
  "README.md": text("# Tiny"),
  "pytorch_model.bin": { bytes: contents(4_000, 3) },
};
const TINY: HubRepository = { commit: COMMIT, files: FILES };
/** Soon tired: a test does not wait as a user would. */
const QUICK: ClientOptions = { retries: 3, backoffMs: 5, maximumWaitMs: 2_000 };

interface Place {
  readonly hub: FakeHub;
  readonly folder: string;
  readonly cache: HubCache;
  pull(request?: Partial<PullRequest>, options?: PullOptions, settings?: Partial<HubSettings>): Promise<Pulled>;
}

async function place(repositories: Record<string, HubRepository> = { [ID]: TINY }): Promise<Place> {
  const hub = await startHub(repositories);
  const folder = join(await temporaryFolder(), "hub");
  const pull: Place["pull"] = async (request = {}, options = {}, settings = {}) => {
    const environment = { HF_HUB_CACHE: folder, HF_ENDPOINT: hub.endpoint, HOME: folder };
    const client = new HubClient({ ...(await hubSettings(environment)), ...settings }, QUICK);
    onTestFinished(() => client.close());
    return pullRepository(client, { id: ID, revision: "main", ...request }, options);
  };
  return { hub, folder, cache: new HubCache(folder), pull };
}

/** Every file below, with what a link leads to. */
async function tree(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
  const pairs = files.sort().map(async (file): Promise<[string, string]> => {
    const link = await readlink(file).catch(() => undefined);
    return [file.slice(folder.length + 1), link ?? `${(await stat(file)).size}`];
  });
  return Object.fromEntries(await Promise.all(pairs));
}

const errorOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "none",
    (error: unknown) => `${(error as Error).name}: ${(error as Error).message}`,
  );

test("the cache is laid out as Python's: blobs by etag, relative links, the ref last", async () => {
  const { pull, folder, hub } = await place();
  const pulled = await pull();
  const repository = "models--laurel--tiny";
  const config = etagOf(FILES["config.json"]);
  const readme = etagOf(FILES["README.md"]);
  expect(await tree(folder)).toEqual({
    "CACHEDIR.TAG": expect.stringMatching(/^\d+$/) as string,
    [`${repository}/blobs/${config}`]: "21",
    [`${repository}/blobs/${readme}`]: "6",
    [`${repository}/blobs/${etagOf(WEIGHTS)}`]: "300000",
    [`${repository}/blobs/${etagOf(OTHER)}`]: "5000",
    [`${repository}/refs/main`]: "40",
    [`${repository}/snapshots/${COMMIT}/README.md`]: `../../blobs/${readme}`,
    [`${repository}/snapshots/${COMMIT}/config.json`]: `../../blobs/${config}`,
    [`${repository}/snapshots/${COMMIT}/model.safetensors`]: `../../blobs/${etagOf(WEIGHTS)}`,
    [`${repository}/snapshots/${COMMIT}/unet/deep/weights.safetensors`]: `../../../../blobs/${etagOf(OTHER)}`,
  });
  expect(await readFile(join(folder, repository, "refs/main"), "utf8")).toBe(COMMIT);
  expect(Buffer.compare(await readFile(join(pulled.path, "model.safetensors")), WEIGHTS.bytes)).toBe(0);
  expect(await readFile(join(folder, "CACHEDIR.TAG"), "utf8")).toMatch(
    /^Signature: 8a477f597d28d172789f06886806bc55\n/,
  );
  expect(pulled).toMatchObject({ commit: COMMIT, others: 1 });
  // every file is asked for by its commit, never by the branch, which may move meanwhile
  expect(hub.asked.filter(({ url }) => url.includes("main")).map(({ url }) => url)).toEqual([
    `/api/models/${ID}/revision/main`,
  ]);
  const before = hub.asked.length;
  expect((await pull()).files.map(({ fetched }) => fetched)).toEqual([false, false, false, false]);
  expect(hub.asked.length).toBe(before + 1);
});

test("patterns choose files as Python's do; a name that is not there is remembered as absent and told with the closest", async () => {
  const { pull, cache } = await place();
  expect((await pull({ include: ["*.bin", "unet/"] })).files.map(({ path }) => path)).toEqual([
    "unet/deep/weights.safetensors",
    "pytorch_model.bin",
  ]);
  expect(await errorOf(pull({ include: ["config.jsn"] }))).toBe(
    "ModelError: laurel/tiny: expected config.jsn, got none; the closest are config.json",
  );
  expect(await errorOf(pull({ include: ["config.json", "vae/config.json"] }))).toBe(
    "ModelError: laurel/tiny: expected vae/config.json, got none; the closest are config.json",
  );
  expect(await cache.file({ id: ID, revision: "main" }, "vae/config.json")).toBe("absent");
});

test("a revision with slashes and a whole commit are revisions, too", async () => {
  const { pull, cache, hub } = await place();
  await pull({ revision: "refs/pr/1", include: ["config.json"] });
  expect(await cache.commitOf({ id: ID, revision: "refs/pr/1" })).toBe(COMMIT);
  expect(hub.asked[0]?.url).toBe(`/api/models/${ID}/revision/refs%2Fpr%2F1`);
  await pull({ revision: COMMIT, include: ["config.json"] });
  expect(await readdir(join(cache.repository(ID), "refs"))).toEqual(["refs"]);
});

test("the token goes to the hub and never to another host", async () => {
  const { pull, hub } = await place();
  const { token } = await hubSettings({ HF_TOKEN: "hf_secret", HOME: "/nowhere" });
  await pull({}, {}, { token });
  const seen = (host: string): unknown[] => [...new Set(hub.asked.filter((one) => one.host === host).map((one) => one.authorization))]; // prettier-ignore
  expect(seen("hub")).toEqual(["Bearer hf_secret"]);
  expect(seen("cdn")).toEqual([undefined]);
});

test("a connection that drops goes on from where it broke off", async () => {
  const { pull, hub, cache } = await place();
  hub.fail({ host: "cdn", url: /model\.safetensors/, dropAfter: 100_000 });
  hub.fail({ host: "cdn", url: /model\.safetensors/, dropAfter: 50_000 });
  await pull();
  const ranges = hub.asked
    .filter(({ host, url }) => host === "cdn" && /model\.safe/.test(url))
    .map(({ range }) => range);
  expect(ranges).toEqual([undefined, "bytes=100000-", "bytes=150000-"]);
  expect(Buffer.compare(await readFile(cache.blob(ID, etagOf(WEIGHTS))), WEIGHTS.bytes)).toBe(0);
});

test("an answer that stalls is given up and gone on with", async () => {
  const { pull, hub, cache } = await place();
  hub.fail({ host: "cdn", url: /model\.safetensors/, stallAfter: 1000 });
  await pull({}, {}, { downloadTimeoutMs: 200 });
  // on a machine under load an answer may be late more than once
  expect(hub.asked.find(({ range }) => range !== undefined)?.range).toBe("bytes=1000-");
  expect(Buffer.compare(await readFile(cache.blob(ID, etagOf(WEIGHTS))), WEIGHTS.bytes)).toBe(0);
});

test("a server that does not resume sends the file anew; one that has nothing left is asked again from the start", async () => {
  const { pull, hub, cache } = await place();
  hub.fail({ host: "cdn", url: /model\.safetensors/, dropAfter: 100_000 });
  hub.fail({ host: "cdn", url: /model\.safetensors/, ignoreRange: true });
  hub.fail({ host: "cdn", url: /weights\.safetensors/, dropAfter: 1_000 });
  hub.fail({ host: "cdn", url: /weights\.safetensors/, status: 416 });
  await pull();
  expect(Buffer.compare(await readFile(cache.blob(ID, etagOf(WEIGHTS))), WEIGHTS.bytes)).toBe(0);
  expect(Buffer.compare(await readFile(cache.blob(ID, etagOf(OTHER))), OTHER.bytes)).toBe(0);
});

test("wrong bytes are fetched once more; wrong twice, they are never seen", async () => {
  const { pull, hub, cache, folder } = await place();
  const wrong = contents(WEIGHTS.bytes.length, 99);
  hub.fail({ host: "cdn", url: /model\.safetensors/, bytes: wrong });
  await pull();
  expect(Buffer.compare(await readFile(cache.blob(ID, etagOf(WEIGHTS))), WEIGHTS.bytes)).toBe(0);

  const second = await place();
  second.hub.fail({ host: "cdn", url: /model\.safetensors/, bytes: wrong, times: 2 });
  expect(await errorOf(second.pull())).toMatch(
    new RegExp(
      `^ModelError: laurel/tiny: model.safetensors: expected sha256 ${etagOf(WEIGHTS)}, got [0-9a-f]{64}; it was fetched twice$`,
    ),
  );
  const names = Object.keys(await tree(second.folder));
  expect(names.filter((name) => /refs|model\.safetensors|incomplete/.test(name))).toEqual([]);
  expect(await second.cache.snapshot({ id: ID, revision: "main" })).toBeUndefined();
  expect(Object.keys(await tree(folder)).some((name) => name.endsWith(".incomplete"))).toBe(false);
});

test("a small file is held to git's hash of it", async () => {
  const { pull, hub } = await place();
  hub.fail({ host: "hub", method: "GET", url: /config\.json/, bytes: FILES["config.json"].bytes.map((byte) => byte ^ 1), times: 2 }); // prettier-ignore
  expect(await errorOf(pull())).toMatch(
    /config\.json: expected git's sha1 [0-9a-f]{40}, got [0-9a-f]{40}; it was fetched twice$/,
  );
});

test("an LFS pointer and a web page in place of a file are called by their names", async () => {
  const pointer = new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 300000\n");
  const { pull, hub } = await place();
  hub.fail({ host: "cdn", url: /model\.safetensors/, bytes: pointer, times: 9 });
  expect(await errorOf(pull())).toBe(
    "ModelError: laurel/tiny: model.safetensors: expected 300000 bytes, got 69, a git LFS pointer to 300000 bytes; fetch the file itself with git lfs pull",
  );
  const page = await place();
  page.hub.fail({
    host: "cdn",
    url: /weights/,
    status: 200,
    headers: { "content-type": "text/html" },
    body: "<html><title>Log in</title>",
  });
  expect(await errorOf(page.pull({ include: ["unet/"] }))).toMatch(
    /weights\.safetensors: expected 5000 bytes, got a web page/,
  );
  page.hub.fail({ host: "hub", url: /api/, status: 200, body: "<html>Welcome to the hotel</html>" });
  expect(await errorOf(page.pull())).toMatch(
    /expected JSON from http.*, got an HTML page; is it a hub, or does a proxy answer\?$/,
  );
});

test("too many requests and failures of the server are waited out, as long as the server asks", async () => {
  const { pull, hub } = await place();
  hub.fail({ url: /revision/, status: 503 });
  hub.fail({ host: "cdn", url: /model\.safetensors/, status: 429, headers: { "retry-after": "1" } });
  hub.fail({ method: "HEAD", url: /config/, status: 502 });
  const startedAt = performance.now();
  await pull();
  expect(performance.now() - startedAt).toBeGreaterThan(990);
});

test("what fails every time is reported with what the server says", async () => {
  const { pull, hub } = await place();
  hub.fail({ url: /revision/, status: 429, headers: { "retry-after": "3600" } });
  expect(await errorOf(pull())).toBe(
    `BackendError: laurel/tiny: expected an answer of ${hub.endpoint}, got 429, too many requests; it asks to wait 3600 s`,
  );
  hub.fail({ url: /revision/, status: 500, times: 4 });
  expect(await errorOf(pull())).toMatch(/got 500, a failure of the server$/);
  expect(await errorOf(pull({}, {}, { endpoint: "http://127.0.0.1:9" }))).toBe("BackendError: http://127.0.0.1:9: expected an answer, got connection refused"); // prettier-ignore
});

test("who may not fetch is told why, and where to go", async () => {
  const { pull, hub } = await place({ [ID]: TINY, "laurel/gated": { ...TINY, gated: "hf_right" } });
  expect(await errorOf(pull({ id: "laurel/gated" }))).toBe(
    `ModelError: laurel/gated: expected a model this user may fetch, got one with a licence to accept (403); accept it at ${hub.endpoint}/laurel/gated and set HF_TOKEN to a token of that account`,
  );
  const { token } = await hubSettings({ HF_TOKEN: "hf_wrong", HOME: "/nowhere" });
  expect(await errorOf(pull({ id: "laurel/gated" }, {}, { token }))).toMatch(
    /accept it at .* with the account of this token$/,
  );
  const { token: right } = await hubSettings({ HF_TOKEN: "hf_right", HOME: "/nowhere" });
  expect((await pull({ id: "laurel/gated" }, {}, { token: right })).commit).toBe(COMMIT);
  hub.fail({ url: /revision/, status: 401, headers: { "x-error-code": "RepoNotFound" } });
  expect(await errorOf(pull())).toMatch(
    /expected a repository on .*, got none of that name, or a private one; set HF_TOKEN if it is private$/,
  );
  hub.fail({ url: /revision/, status: 401 });
  expect(await errorOf(pull({}, {}, { token }))).toMatch(/got 401: a token that is not valid; look at HF_TOKEN$/);
});

test("a repository or revision that does not exist is told with the closest that does", async () => {
  const { pull } = await place();
  expect(await errorOf(pull({ id: "laurel/tinny" }, { known: ["laurel/tiny", "other/model"] }))).toMatch(
    /^ModelError: laurel\/tinny: expected a repository on .*, got none of that name; did you mean laurel\/tiny\?$/,
  );
  expect(await errorOf(pull({ revision: "v1.1" }))).toBe("ModelError: laurel/tiny: expected a revision, got none named v1.1; there is v1.0"); // prettier-ignore
});

test("a disk without room is told before anything is fetched", async () => {
  const { pull, hub, folder } = await place();
  expect(await errorOf(pull({}, { freeBytes: async () => 200_000 }))).toBe(
    `LaurelError: laurel/tiny: expected 0.3 MB of room in ${folder}, got 0.2 MB; make room, or set HF_HUB_CACHE to a folder on another disk`,
  );
  expect(hub.asked.filter(({ host }) => host === "cdn")).toEqual([]);
  expect(Object.keys(await tree(folder))).toEqual(["CACHEDIR.TAG"]);
});

test("offline nothing is asked", async () => {
  const { pull, hub } = await place();
  expect(await errorOf(pull({}, {}, { offline: true }))).toBe(
    "UsageError: laurel/tiny: expected to be let onto the network, got HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE",
  );
  expect(hub.asked).toEqual([]);
});

test("cancelling keeps what was fetched, and the next pull goes on with it", async () => {
  const { pull, hub, folder, cache } = await place();
  hub.fail({ host: "cdn", url: /model\.safetensors/, stallAfter: 120_000 });
  const controller = new AbortController();
  const onProgress: PullOptions["onProgress"] = ({ bytes }) => {
    if (bytes >= 120_000) controller.abort();
  };
  expect(await errorOf(pull({ include: ["model.safetensors"] }, { signal: controller.signal, onProgress }))).toBe(
    "CancelledError: the download was cancelled; what was fetched is kept",
  );
  expect(await cache.snapshot({ id: ID, revision: "main" })).toBeUndefined();
  expect(Object.keys(await tree(folder)).filter((name) => name.endsWith(".incomplete"))).toHaveLength(1);
  const progress: number[] = [];
  await pull({ include: ["model.safetensors"] }, { onProgress: ({ bytes }) => progress.push(bytes) });
  expect(progress[0]).toBe(120_000);
  expect(hub.asked.at(-1)?.range).toBe("bytes=120000-");
  expect(Object.keys(await tree(folder)).filter((name) => name.endsWith(".incomplete"))).toEqual([]);
});

test("what an earlier attempt left is not trusted: damaged, it is fetched from the start", async () => {
  const { pull, cache, hub } = await place();
  const blob = cache.blob(ID, etagOf(WEIGHTS));
  await mkdir(join(blob, ".."), { recursive: true });
  await writeFile(`${blob}.1a0e0000.incomplete`, contents(100_000, 7));
  // what Python has not finished may still be written to, and stays
  await writeFile(`${blob}.incomplete`, contents(200_000, 8));
  await pull({ include: ["model.safetensors"] });
  expect(Buffer.compare(await readFile(blob), WEIGHTS.bytes)).toBe(0);
  expect(hub.asked.filter(({ host }) => host === "cdn").map(({ range }) => range)).toEqual([
    "bytes=100000-",
    undefined,
  ]);
  expect(await readdir(join(blob, ".."))).toEqual([etagOf(WEIGHTS), `${etagOf(WEIGHTS)}.incomplete`]);
});

test("with --check, what is damaged in the cache is fetched again", async () => {
  const { pull, cache } = await place();
  await pull();
  const blob = cache.blob(ID, etagOf(WEIGHTS));
  await chmod(blob, 0o644);
  await writeFile(blob, contents(WEIGHTS.bytes.length, 5));
  expect((await pull()).files.filter(({ fetched }) => fetched)).toEqual([]);
  expect((await pull({}, { check: true })).files.filter(({ fetched }) => fetched)).toEqual([
    { path: "model.safetensors", bytes: 300_000, fetched: true },
  ]);
  expect(Buffer.compare(await readFile(blob), WEIGHTS.bytes)).toBe(0);
});

test("without links a snapshot's file is a second name of its blob", async () => {
  const { pull, cache } = await place();
  const { path } = await pull({ include: ["config.json"] }, {}, { symlinks: false });
  const file = await lstat(join(path, "config.json"));
  const blob = await stat(cache.blob(ID, etagOf(FILES["config.json"])));
  expect([file.isFile(), file.ino]).toEqual([true, blob.ino]);
  expect((await pull({ include: ["config.json"] }, {}, { symlinks: false })).files[0]?.fetched).toBe(false);
});

test("a repository that names files outside itself is refused", async () => {
  const { pull } = await place({ [ID]: { commit: COMMIT, files: { "../../evil.json": text("{}") } } });
  expect(await errorOf(pull())).toBe(
    'ModelError: laurel/tiny: expected paths inside the repository, got "../../evil.json"',
  );
});

test("two pulls of one file at once fetch it once", async () => {
  const { pull, hub } = await place();
  hub.pace = 5;
  const [first, second] = await Promise.all([pull(), pull()]);
  expect(first.path).toBe(second.path);
  const fetched = hub.asked.filter(({ host, url }) => host === "cdn" && /model\.safe/.test(url));
  expect(fetched).toHaveLength(1);
});
