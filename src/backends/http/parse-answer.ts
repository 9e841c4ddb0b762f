/** @file Answers of servers in the form that their interface promises. */

import type { z } from "zod";
import type { HttpServer } from "./client.js";

/** Faults of an answer that are told. */
const MOST_FAULTS = 3;

/** An answer of the expected form. @param whose interface it should be of, for errors @throws HttpError `bad-response` */
export function parseAnswer<T>(
  server: HttpServer,
  whose: string,
  path: string,
  schema: z.ZodType<T>,
  json: unknown,
): T {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues
    .slice(0, MOST_FAULTS)
    .map(({ path: at, message }) => `${at.join(".") || "answer"}: ${message}`);
  throw server.fault("bad-response", `${path}: expected an answer of ${whose}, got ${faults.join("; ")}`);
}
