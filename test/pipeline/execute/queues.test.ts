import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ImageBackend } from "#laurel/backends/contract";
import { drawGroups } from "#laurel/backends/groups";
import { itemsAtOnce } from "#laurel/pipeline/execute/run-pipeline";
import type { Reward } from "#laurel/rewards/contract";
import { createBrightnessReward } from "../../backends/brightness-reward.js";
import { createProceduralBackend } from "../../backends/procedural-backend.js";
import { planOf, runPlan, services, temporaryFolder } from "./pipelines.js";

const cleanUp: (() => Promise<void>)[] = [];
let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder(cleanUp);
});
afterEach(async () => {
  await Promise.all(cleanUp.splice(0).map((one) => one()));
});

const PROMPTS = ["zero", "one", "two", "three", "four", "five"];
const YAML = `
version: 1
prompts: [${PROMPTS.join(", ")}]
seed: 1
concurrency: { items: 4 }
steps:
  - generate: { count: 8, batch: 2 }
  - score:
  - select: { keep: 1 }
`;

/** What happened, in order: `draw <prompt>`, `drawn <prompt>`, `score <prompt>`, `scored <prompt>`. */
interface Traced {
  readonly backend: ImageBackend;
  readonly reward: Reward;
  readonly events: string[];
  /** Most groups in the making at once. */
  readonly most: () => number;
}

/** A backend that draws `concurrency` groups at once, as one behind a server does, or one after the other, and a reward; both take a while. */
function traced(concurrency: number | undefined, drawMs: number, scoreMs: number): Traced {
  const events: string[] = [];
  const base = createProceduralBackend();
  let [underway, most] = [0, 0];
  const drawOne = async (request: Parameters<ImageBackend["generate"]>[0]) => {
    events.push(`draw ${request.prompt}`);
    most = Math.max(most, ++underway);
    await sleep(drawMs);
    const { value } = await base.generate(request).next();
    underway--;
    events.push(`drawn ${request.prompt}`);
    return value!;
  };
  const backend: ImageBackend = {
    ...base,
    capabilities: { ...base.capabilities, ...(concurrency === undefined ? {} : { concurrency }) },
    async *generate(request, options = {}) {
      if (concurrency === undefined) {
        for (let start = 0; start < request.count; start += request.batch)
          yield await drawOne({ ...request, seed: request.seed + start, count: request.batch });
      } else
        yield* drawGroups(request, concurrency, options, ({ seed, count }) => drawOne({ ...request, seed, count }));
    },
  };
  const brightness = createBrightnessReward();
  const reward: Reward = {
    ...brightness,
    async score(prompt, images, options) {
      events.push(`score ${prompt}`);
      await sleep(scoreMs);
      const result = await brightness.score(prompt, images, options);
      events.push(`scored ${prompt}`);
      return result;
    },
  };
  return { backend, reward, events, most: () => most };
}

describe("items share a backend and a reward", () => {
  it.each([1, 3])("a server of %i requests at once never gets more, whatever the items draw ahead", async (width) => {
    const { backend, reward, most, events } = traced(width, 4, 1);
    await runPlan(folder, await planOf(folder, YAML), services({ backend, reward }));
    expect(most()).toBe(width);
    expect(events.filter((event) => event.startsWith("draw "))).toHaveLength(PROMPTS.length * 4);
  });

  it("a device that draws in turn draws one group at a time", async () => {
    const { backend, reward, most } = traced(undefined, 2, 1);
    await runPlan(folder, await planOf(folder, YAML), services({ backend, reward }));
    expect(most()).toBe(1);
  });

  it("earlier items come first: the last of an item is drawn before the last of the next", async () => {
    const { backend, reward, events } = traced(1, 3, 0);
    await runPlan(folder, await planOf(folder, YAML), services({ backend, reward }));
    const last = PROMPTS.map((prompt) => events.lastIndexOf(`drawn ${prompt}`));
    expect(last).toEqual([...last].sort((a, b) => a - b));
    // an item begins only when there is room: the last is not begun before the first is through
    expect(events.indexOf("draw five")).toBeGreaterThan(events.lastIndexOf("drawn zero"));
  });

  it("no more items are under way than there may be", async () => {
    const { backend, reward, events } = traced(2, 3, 2);
    await runPlan(folder, await planOf(folder, YAML.replace("items: 4", "items: 2")), services({ backend, reward }));
    const open = new Set<string>();
    const scored = new Map<string, number>();
    let most = 0;
    for (const event of events) {
      const [what = "", prompt = ""] = event.split(" ");
      if (what === "draw") open.add(prompt);
      if (what === "scored") scored.set(prompt, (scored.get(prompt) ?? 0) + 1);
      if (scored.get(prompt) === 4) open.delete(prompt);
      most = Math.max(most, open.size);
    }
    expect(most).toBe(2);
  });

  it("one group is scored while another is drawn", async () => {
    const { backend, reward, events } = traced(undefined, 10, 10);
    await runPlan(folder, await planOf(folder, YAML), services({ backend, reward }));
    let [drawing, overlaps] = [0, 0];
    for (const event of events) {
      if (event.startsWith("draw ")) drawing++;
      else if (event.startsWith("drawn ")) drawing--;
      else if (event.startsWith("score ") && drawing > 0) overlaps++;
    }
    expect(overlaps).toBeGreaterThan((PROMPTS.length * 4) / 2);
  });
});

describe("itemsAtOnce", () => {
  const at = async (concurrency: number | undefined, step: string): Promise<number> => {
    const text = `version: 1\nprompts: [one, two]\nseed: 1\nsteps:\n  - generate: ${step}\n  - score:\n`;
    const { defaults, capabilities } = createProceduralBackend();
    const placed = concurrency === undefined ? capabilities : { ...capabilities, concurrency };
    return itemsAtOnce(await planOf(folder, text), { defaults, capabilities: placed });
  };

  it("is as many items as fill the places of the backend twice, and one", async () => {
    expect(await at(undefined, "{ count: 64, batch: 4 }")).toBe(2);
    expect(await at(256, "{ count: 1 }")).toBe(257);
    expect(await at(256, "{ count: 64, batch: 4 }")).toBe(33);
    expect(await at(256, "{ count: 4000, batch: 4 }")).toBe(2);
    expect(await at(4, "{ count: 2, batch: 1 }")).toBe(5);
    // a group is drawn when the one before has been scored
    expect(await at(256, "{ count: 64, batch: 4, until: { score: 2, images: 1 } }")).toBe(257);
  });
});
