import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import type { PipelineCandidate } from "#laurel/pipeline/execute/manifest";
import { sha256 } from "#laurel/util/files";
import { finish, start } from "../../cli/processes.js";
import { withFiles } from "../document/bad-document.js";

const PICTURE = fileURLToPath(new URL("../../../pipelines/pictures/circle-square-21.png", import.meta.url));
const MASK = fileURLToPath(new URL("../../../docs/images/mask-upper-half.png", import.meta.url));
const DOCUMENT = `version: 1
prompts: [a red circle above a blue square]
seed: 1
settings: { steps: 4 }
matrix: { strength: [0.3, 0.9] }
steps:
  - generate: { count: 1, init: own.png, mask: mask.png }
  - score:
  - select: { keep: 1 }
  - img2img: { count: 1 }
  - score:
  - select: { keep: 1 }
`;

it("pictures of the document are started from, recorded by their digests, and must be the same when a run goes on", async () => {
  await withFiles({ "p.yaml": DOCUMENT }, async (folder) => {
    await copyFile(PICTURE, join(folder, "own.png"));
    await copyFile(MASK, join(folder, "mask.png"));
    const args = ["run", join(folder, "p.yaml"), "--out", join(folder, "runs"), "--json"];
    const { code, stdout, stderr } = await finish(start(args, { cwd: folder }));
    expect(code, stderr).toBe(0);
    const { directory } = JSON.parse(stdout) as { directory: string };
    const lines = (await readFile(join(directory, "candidates.jsonl"), "utf8")).trimEnd().split("\n");
    const candidates = lines.map((line) => JSON.parse(line) as PipelineCandidate);
    const at = (item: string, step: number): PipelineCandidate =>
      candidates.find((one) => one.item === item && one.step === step)!;
    const digest = async (name: string): Promise<string> => sha256(await readFile(join(folder, name)));
    const inputs = { init: await digest("own.png"), mask: await digest("mask.png") };
    for (const [item, strength] of [
      ["0.0", 0.3],
      ["0.1", 0.9],
    ] as const) {
      expect(at(item, 0)).toMatchObject({ inputs, settings: { strength, steps: 4 }, lineage: { parent: null } });
      // the second drawing starts from what the first one drew, which its lineage names
      expect(at(item, 3)).toMatchObject({
        inputs: { init: null, mask: null },
        settings: { strength },
        lineage: { parent: at(item, 0).index },
      });
    }
    // 4 steps, of which floor(4 * strength) are taken, with guidance: twice the evaluations
    expect(at("0.0", 0).evaluations).toBe(2 * 1);
    expect(at("0.1", 0).evaluations).toBe(2 * 3);

    await writeFile(join(folder, "own.png"), await readFile(MASK));
    const changed = await finish(start(["resume", directory], { cwd: folder }));
    expect(changed.code).toBe(2);
    expect(changed.stderr).toContain("expected the file that the run was planned with");
  });
});
