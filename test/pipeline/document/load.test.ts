import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadPipeline } from "#laurel/pipeline/document/load";
import { expectPlanFiles, pictureReader } from "#laurel/pipeline/document/files";
import { planOf, withFiles } from "./bad-document.js";

const DOCUMENT = `version: 1
variables: { n: 4, prompts: [a, b], words: "in \${matrix.style}", steps: "\${n}" }
prompts: \${prompts}
settings: { steps: 6 }
steps:
  - generate: { count: "\${n}" }
  - score:
`;

describe("variables", () => {
  it("stand for values of any kind, in texts and alone", async () => {
    const plan = await planOf(
      `version: 1
variables: { n: 3, folder: best, both: { steps: "\${n}", guidance: 2 }, mixed: "\${folder}-\${n}" }
name: run-\${ n }
prompts: [a]
settings: \${both}
steps: [{ generate: { count: "\${n}" } }, score:, { export: { to: "\${mixed}/\${id}" } }]`,
    );
    expect(plan.name).toBe("run-3");
    expect(plan.items[0]?.settings).toEqual({ steps: 3, guidance: 2 });
    expect(plan.steps[0]).toMatchObject({ count: 3 });
    expect(plan.steps[2]).toMatchObject({ to: "best-3/${id}" });
  });

  it("may be templates; $${ stands for ${ everywhere", async () => {
    const plan = await planOf(
      `version: 1
variables: { t: "\${prompt} in \${matrix.style}, $\${5}" }
prompts: ["costs $\${7}"]
template: \${t}
matrix: { style: [oil, ink] }
steps: [generate:]`,
    );
    expect(plan.items.map(({ drawn }) => drawn)).toEqual(["costs ${7} in oil, ${5}", "costs ${7} in ink, ${5}"]);
    expect(plan.items[0]?.prompt).toBe("costs ${7}");
  });

  it("are recorded as they were set", async () => {
    const { document } = await planOf(DOCUMENT.replace(/, words: [^,]*/, ""), { n: "9" });
    expect(document.variables).toMatchObject({ n: 9, steps: 9 });
  });
});

describe("--set", () => {
  const plain = DOCUMENT.replace(/, words: [^,]*/, "");
  it.each([
    [{ n: "7" }, (p) => p.steps[0], { count: 7 }],
    [{ prompts: "[x, 'y, z']" }, (p) => p.items.map(({ prompt }) => prompt), ["x", "y, z"]],
    [{ prompts: "a red circle" }, (p) => p.items.map(({ prompt }) => prompt), ["a red circle"]],
    [{ "settings.steps": "8" }, (p) => p.items[0]?.settings.steps, 8],
    [{ "settings.guidance": "3" }, (p) => p.items[0]?.settings, { steps: 6, guidance: 3 }],
    [{ "steps.0.generate.count": "5" }, (p) => p.steps[0], { count: 5 }],
    [{ "budget.candidates": "3" }, (p) => p.budget, { candidates: 3 }],
    [{ seed: "11" }, (p) => p.seed, 11],
    [{ matrix: "{ guidance: [1, 2] }" }, (p) => p.items.length, 4],
    [{ backend: "{ backend: webui, retries: 2 }" }, (p) => p.backend, { backend: "webui", retries: 2 }],
    [{ "settings.negative": "" }, (p) => p.items[0]?.settings.negative, ""],
  ] as const satisfies readonly (readonly [
    Readonly<Record<string, string>>,
    (plan: Awaited<ReturnType<typeof planOf>>) => unknown,
    unknown,
  ])[])("%j", async (set, pick, expected) => {
    const actual = pick(await planOf(plain, set));
    if (typeof expected === "object" && !Array.isArray(expected)) expect(actual).toMatchObject(expected);
    else expect(actual).toEqual(expected);
  });
});

describe("items", () => {
  it("are prompts times cells, the last name of the matrix varying fastest", async () => {
    const plan = await planOf(
      `version: 1
prompts: [a, { id: second, prompt: b, negative: none }]
settings: { negative: usual, steps: 3 }
matrix: { guidance: [1, 2], style: [oil, ink] }
template: \${prompt}, \${matrix.style}
steps: [generate:]`,
    );
    expect(plan.items.map(({ id, index }) => `${index} ${id}`)).toEqual(
      ["0.0", "0.1", "0.2", "0.3", "second.0", "second.1", "second.2", "second.3"].map((id, i) => `${i} ${id}`),
    );
    expect(plan.items[1]).toMatchObject({
      prompt: "a",
      drawn: "a, ink",
      cell: { guidance: 1, style: "ink" },
      settings: { negative: "usual", steps: 3, guidance: 1 },
    });
    expect(plan.items[6]).toMatchObject({ drawn: "b, oil", settings: { negative: "none", guidance: 2 } });
  });

  it("have names of their own, whatever the names of their prompts", async () => {
    const plan = await planOf(
      `version: 1
prompts: [a, { id: "0", prompt: b }, { id: x, prompt: c }, { id: x, prompt: d }, { id: x-2, prompt: e }, { id: x, prompt: f }]
steps: [generate:]`,
    );
    const ids = plan.items.map(({ id }) => id);
    expect(ids).toEqual(["0-2", "0", "x", "x-3", "x-2", "x-4"]);
  });

  it("names 100,000 equal ids soon", async () => {
    const lines = `${JSON.stringify({ id: "same", prompt: "a" })}\n`.repeat(100_000);
    const plan = await planOf("version: 1\nprompts: { file: p.jsonl }\nsteps: [generate:]", {}, { "p.jsonl": lines });
    expect(new Set(plan.items.map(({ id }) => id)).size).toBe(100_000);
  }, 10_000);
});

describe("prompts from files", () => {
  const read = async (name: string, content: string, more = ""): Promise<unknown[]> => {
    const yaml = `version: 1\nprompts: { file: ${name}${more} }\ntemplate: "\${prompt}"\nsteps: [generate:]`;
    const { items } = await planOf(yaml, {}, { [name]: content });
    return items.map(({ id, prompt, settings }) => [
      id,
      prompt,
      ...(settings.negative === undefined ? [] : [settings.negative]),
    ]);
  };
  it.each([
    [
      "p.txt",
      "\uFEFFone\r\n\r\n  two \n# three\n",
      "",
      [
        ["0", "one"],
        ["1", "two"],
        ["2", "# three"],
      ],
    ],
    [
      "p.csv",
      '\uFEFFid,prompt,negative\r\nx,"a, ""b""\nc",no\r\ny,d,\r\n',
      "",
      [
        ["x", 'a, "b"\nc', "no"],
        ["y", "d", ""],
      ],
    ],
    ["p.csv", "title,caption\na,b\n", "", [["0", "b"]]],
    ["p.csv", "title,caption\na,b\n", ", column: title", [["0", "a"]]],
    [
      "p.jsonl",
      '"plain"\n\n{"text": "b", "id": 7, "__proto__": "x"}\n',
      "",
      [
        ["0", "plain"],
        ["7", "b"],
      ],
    ],
    [
      "p.json",
      '[{"text": "a", "image_path": "x.webp", "score": 1.5}, "b"]',
      "",
      [
        ["0", "a"],
        ["1", "b"],
      ],
    ],
    ["refl_data.json", '[{"text": "a lighthouse", "classification": "Arts"}]', "", [["0", "a lighthouse"]]],
    [
      "p.dat",
      "one\ntwo",
      ", format: txt",
      [
        ["0", "one"],
        ["1", "two"],
      ],
    ],
    [
      "p.txt",
      "a\nb\nc\nd",
      ", offset: 1, limit: 2",
      [
        ["0", "b"],
        ["1", "c"],
      ],
    ],
    ["p.txt", "a ${b} $${c}", "", [["0", "a ${b} $${c}"]]],
  ])("%s: %j%s", async (name, content, more, expected) => {
    expect(await read(name, content, more)).toEqual(expected);
  });

  it("gives other columns to the template", async () => {
    const yaml =
      "version: 1\nprompts: { file: p.csv }\ntemplate: '${item.style}: ${prompt}, ${item.n}'\nsteps: [generate:]";
    const { items } = await planOf(yaml, {}, { "p.csv": "prompt,style,n\na,oil,3\n" });
    expect(items[0]).toMatchObject({ prompt: "a", drawn: "oil: a, 3" });
  });
});

describe("fragments", () => {
  it("are taken by reference, nested, merged, with what is said beside them on top", async () => {
    const plan = await planOf(
      `version: 1\nuse: [one.yaml, sub/two.yaml]\nsettings: { use: settings.yaml, steps: 9 }\nprompts: [a]\nsteps: [generate:]`,
      {},
      {
        "one.yaml": "seed: 1\nsettings: { width: 64 }\nname: one",
        "sub/two.yaml": "use: three.yaml\nname: two",
        "sub/three.yaml": "settings: { height: 32 }\nseeds: distinct",
        "settings.yaml": "steps: 3\nguidance: 4",
      },
    );
    expect(plan).toMatchObject({ name: "two", seed: 1, seeds: "distinct" });
    expect(plan.items[0]?.settings).toEqual({ width: 64, height: 32, steps: 9, guidance: 4 });
  });

  it("may be those that ship inside", async () => {
    const plan = await planOf(
      "version: 1\nbackend: { use: configs/backends/forge.yaml, retries: 1 }\nprompts: [a]\nsteps: [generate:]",
    );
    expect(plan.backend).toMatchObject({ backend: "webui", scheduler: "Automatic", retries: 1 });
  });
});

describe("paths", () => {
  it("are relative to the file they are written in, those from --set to the working directory", async () => {
    const yaml = `version: 1
use: sub/more.yaml
variables: { folder: pictures }
prompts: [a]
backend: { backend: folder, path: ["\${folder}", "\${folder}/x.png", other] }
steps: [generate:]`;
    const files = {
      "p.yaml": yaml,
      "sub/more.yaml": "reward: { model: r.pt }\nout: runs",
      "sub/b.yaml": "backend: openai\nkey: { file: key.txt }",
    };
    await withFiles(files, async (folder) => {
      const path = join(folder, "p.yaml");
      const plan = await loadPipeline(path);
      expect(plan.reward.model).toBe(join(folder, "sub/r.pt"));
      expect(plan.seed).toBe(0); // the first picture of the folder
      expect(plan.out).toBe(join(folder, "sub/runs"));
      expect(plan.backend).toMatchObject({ path: ["pictures", "pictures/x.png", "other"].map((p) => join(folder, p)) });
      const set = await loadPipeline(path, { folder: "here" });
      const here = join(process.cwd(), "here");
      expect(set.backend).toMatchObject({ path: [here, join(here, "x.png"), join(folder, "other")] });
      const { backend } = await loadPipeline(path, { backend: join(folder, "sub/b.yaml") });
      expect(backend).toMatchObject({ key: { file: join(folder, "sub/key.txt") } });
    });
  });
});

describe("files that pictures are made from", () => {
  const yaml = `version: 1
prompts: [a]
settings: { promptSyntax: a1111, clipSkip: 2, embeddings: [e.pt], strength: 0.5 }
steps: [generate: { init: i.png, mask: m.png, embeddings: [e.pt, f.pt] }, score:, img2img: { strength: 0.7 }]`;
  const files = { "p.yaml": yaml, "e.pt": "1", "f.pt": "2", "m.png": "4" };
  const picture = new URL("../../../pipelines/pictures/circle-square-21.png", import.meta.url);

  it("are recorded with their digests, and noticed when they change", async () => {
    await withFiles(files, async (folder) => {
      await copyFile(picture, join(folder, "i.png"));
      const plan = await loadPipeline(join(folder, "p.yaml"));
      expect(plan.files.map(({ path }) => path)).toEqual(
        ["e.pt", "f.pt", "i.png", "m.png"].map((name) => join(folder, name)),
      );
      expect(plan.steps[0]).toMatchObject({ init: join(folder, "i.png"), mask: join(folder, "m.png") });
      expect(plan.items[0]?.settings).toMatchObject({
        promptSyntax: "a1111",
        clipSkip: 2,
        embeddings: [join(folder, "e.pt")],
      });
      await expectPlanFiles(plan, "plan.json");
      const read = pictureReader(plan.files);
      expect(await read(join(folder, "i.png"))).toMatchObject({ width: 64, height: 64 });
      await writeFile(join(folder, "i.png"), "another");
      expect(read(join(folder, "i.png"))).toBe(read(join(folder, "i.png"))); // read once
      await expect(pictureReader(plan.files)(join(folder, "i.png"))).rejects.toThrow("got another");
      await expect(expectPlanFiles(plan, "plan.json")).rejects.toThrow(
        /plan\.json: expected the file that the run was planned with/,
      );
      expect((await loadPipeline(join(folder, "p.yaml"))).digest).not.toBe(plan.digest);
    });
  });
});

describe("digests", () => {
  const digest = async (yaml: string, set = {}): Promise<string> => (await planOf(yaml, set)).digest;
  const plain = DOCUMENT.replace(/, words: [^,]*/, "");
  it("are the same for the same work, wherever it lies and however it is written", async () => {
    const first = await digest(plain);
    expect(await digest(plain)).toBe(first);
    expect(await digest(`# a comment\n${plain}`)).toBe(first);
    expect(await digest(plain, { n: "4" })).toBe(first);
  });

  it("differ when the work does", async () => {
    const first = await digest(plain);
    for (const set of [{ n: "5" }, { "settings.steps": "7" }, { prompts: "[a]" }, { seed: "1" }, { backend: "webui" }])
      expect(await digest(plain, set)).not.toBe(first);
  });

  it("follow the prompts in a file", async () => {
    await withFiles(
      { "p.yaml": "version: 1\nprompts: { file: p.txt }\nsteps: [generate:]", "p.txt": "a" },
      async (folder) => {
        const first = (await loadPipeline(join(folder, "p.yaml"))).digest;
        await writeFile(join(folder, "p.txt"), "b");
        expect((await loadPipeline(join(folder, "p.yaml"))).digest).not.toBe(first);
        await mkdir(join(folder, "elsewhere"));
        for (const name of ["p.yaml", "p.txt"])
          await writeFile(join(folder, "elsewhere", name), await readFile(join(folder, name)));
        await writeFile(join(folder, "elsewhere", "p.txt"), "a");
        expect((await loadPipeline(join(folder, "elsewhere", "p.yaml"))).digest).toBe(first);
      },
    );
  });
});

describe("rewards", () => {
  const steps = "version: 1\nprompts: [a]\nsteps: [generate:, score:]\n";

  it("are names, kinds and paths of the document's folder, with weights and what is known of their scores", async () => {
    const text =
      "reward: { rewards: { hps: 1, ./own.pt: { weight: -2, mean: 1, std: 0.5 } }, heldOut: ['pickscore:pick', clip-score] }";
    await withFiles({ "p.yaml": `${steps}${text}` }, async (folder) => {
      const { reward } = await loadPipeline(join(folder, "p.yaml"));
      expect(reward).toEqual({
        model: null,
        rewards: [
          { reward: "hps", weight: 1 },
          { reward: join(folder, "own.pt"), weight: -2, mean: 1, std: 0.5 },
        ],
        heldOut: [`pickscore:${join(folder, "pick")}`, "clip-score"],
      });
    });
  });

  it("stand instead of a model, not beside it", async () => {
    await expect(planOf(`${steps}reward: { model: a.pt, rewards: { hps: 1 } }`)).rejects.toThrow(
      /:4:9: reward: expected model or rewards, got both/,
    );
  });

  it("change the digest of a plan, which is otherwise what it was", async () => {
    const [plain, held] = [await planOf(steps), await planOf(`${steps}reward: { heldOut: [hps] }`)];
    expect(plain.reward).toEqual({ model: null });
    expect(held.digest).not.toBe(plain.digest);
  });
});
