/** @file A server with `/v1/images/generations` for tests, strict about what it is asked. */

import { z } from "zod";
import { encodePng } from "#laurel/image/png";
import { type ScriptedServer, startServer } from "./scripted-server.js";
import { paint } from "./webui-server.js";

/** How the server behaves. */
export interface OpenaiBehaviour {
  /** Sends addresses on itself instead of base64. */
  urls?: boolean;
  /** Sends this address instead. */
  url?: string;
  /** Rewrites prompts. */
  revise?: boolean;
  /** Expects this key. */
  key?: string;
  /** Milliseconds a call takes. */
  callMs?: number;
}

const schema = z.strictObject({
  prompt: z.string().min(1),
  model: z.enum(["tiny", "dall-e-3"]).optional(),
  n: z.number().int().min(1).max(10),
  size: z
    .string()
    .regex(/^\d+x\d+$/)
    .optional(),
  quality: z.enum(["low", "high"]).optional(),
  background: z.literal("opaque").optional(),
  response_format: z.literal("b64_json").optional(),
});

/** Starts such a server; the largest number of calls it had at once is `most()`. */
export async function startOpenai(
  behaviour: OpenaiBehaviour = {},
): Promise<ScriptedServer & { behaviour: OpenaiBehaviour; most(): number }> {
  let drawn = 0;
  let underway = 0;
  let most = 0;
  const pictures = new Map<string, Uint8Array>();
  const server: ScriptedServer = await startServer(async (request) => {
    const known = pictures.get(request.path);
    if (known !== undefined) return { bytes: known };
    if (`${request.method} ${request.path}` !== "POST /v1/images/generations")
      return { status: 404, json: { error: "not found" } };
    if (behaviour.key !== undefined && request.headers.authorization !== `Bearer ${behaviour.key}`) {
      return {
        status: 401,
        json: {
          error: { code: "invalid_api_key", message: "Incorrect API key provided", type: "invalid_request_error" },
        },
      };
    }
    const parsed = schema.safeParse(request.body);
    if (!parsed.success || (parsed.data.model === "dall-e-3" && parsed.data.n > 1)) {
      return {
        status: 400,
        json: {
          error: {
            message: parsed.error?.issues[0]?.message ?? "n must be 1",
            param: "n",
            type: "invalid_request_error",
          },
        },
      };
    }
    most = Math.max(most, ++underway);
    await new Promise((resolve) => setTimeout(resolve, behaviour.callMs ?? 0));
    underway--;
    const [width = 64, height = 64] = (parsed.data.size ?? "64x64").split("x").map(Number);
    const data = await Promise.all(
      Array.from({ length: parsed.data.n }, async () => {
        const png = await encodePng(paint(drawn++, { width, height }));
        const path = `/files/${drawn}.png`;
        pictures.set(path, png);
        const where = behaviour.url ?? (behaviour.urls === true ? `${server.url}${path}` : undefined);
        const revised = behaviour.revise === true ? { revised_prompt: `${parsed.data.prompt}, in oil` } : {};
        return where === undefined
          ? { b64_json: Buffer.from(png).toString("base64"), ...revised }
          : { url: where, ...revised };
      }),
    );
    return { json: { created: 1, data } };
  });
  return { ...server, behaviour, most: () => most };
}
