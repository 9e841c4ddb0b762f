/** @file Laurel's error classes. A subclass exists only where a caller reacts to it; the exit code is part of the class. */

/** Process exit codes of the command line. */
export const EXIT = {
  ok: 0,
  unexpected: 1,
  usage: 2,
  backendUnavailable: 3,
  partial: 4,
  model: 5,
  gate: 6,
  interrupted: 130,
} as const;

/** An expected error: its message is one line, `<where>: <expected>, got <actual>`, and needs no stack to be understood. */
export class LaurelError extends Error {
  override readonly name: string = "LaurelError";
  readonly exitCode: number = EXIT.unexpected;
  constructor(message: string, options?: ErrorOptions) {
    super(oneLine(message), options);
  }
}

/** Names and texts of hostile files may hold line breaks, escape sequences or megabytes. */
const MAX_MESSAGE = 8000;

function oneLine(message: string): string {
  const cut = message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}...` : message;
  return cut
    .trimEnd()
    .replace(/\s*[\r\n\u2028\u2029]\s*/g, " ")
    .replace(/\p{Cc}/gu, (character) => {
      return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
    });
}

/** Wrong arguments, configuration or input data. */
export class UsageError extends LaurelError {
  override readonly name = "UsageError";
  override readonly exitCode = EXIT.usage;
}

/** A model file or folder is missing, damaged, hostile or of another architecture. */
export class ModelError extends LaurelError {
  override readonly name = "ModelError";
  override readonly exitCode = EXIT.model;
}

/** A backend cannot be reached or its process died. */
export class BackendError extends LaurelError {
  override readonly name = "BackendError";
  override readonly exitCode = EXIT.backendUnavailable;
}

/** Work was cancelled through its AbortSignal. */
export class CancelledError extends LaurelError {
  override readonly name = "CancelledError";
  override readonly exitCode = EXIT.interrupted;
}

/** A fault of Laurel itself: an invariant that no input should break. */
export class InternalError extends LaurelError {
  override readonly name = "InternalError";
  constructor(message: string, options?: ErrorOptions) {
    super(`internal: ${message}`, options);
  }
}
