/** @file The Chat contract: a language model that is asked with messages and answers with one text. */

/** One message of a conversation. */
export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** How one answer is asked for. */
export interface ChatOptions {
  readonly signal?: AbortSignal | undefined;
  /** Most tokens the answer may have, reasoning included. */
  readonly maxTokens: number;
  /** Left out, the server's own. */
  readonly temperature?: number | undefined;
  readonly seed?: number | undefined;
  /** The form of the answer. A server may ignore it: whoever asks checks what comes back. */
  readonly jsonSchema?: { readonly name: string; readonly schema: Readonly<Record<string, unknown>> } | undefined;
}

/** Tokens as the server counted them. */
export interface ChatUsage {
  readonly promptTokens: number;
  readonly completionTokens: number;
}

/** Why an answer ended: by itself, at the limit of tokens, held back by the server's filter or the model, or for a reason of the server's own. */
export type FinishReason = "stop" | "length" | "refused" | "other";

/** One answer. */
export interface ChatReply {
  /** Without reasoning; "" when nothing else came. It is data from a stranger: not checked, not escaped. */
  readonly text: string;
  /** undefined when the server does not say. */
  readonly usage: ChatUsage | undefined;
  readonly finishReason: FinishReason;
  /** Settings that the server did not honour. */
  readonly warnings: readonly string[];
}

/** A language model. */
export interface Chat {
  /** Names model and server in messages. */
  readonly name: string;
  /**
   * @throws CancelledError when the signal aborts; HttpError (a BackendError) when the server cannot be reached, refuses, or answers something else
   * than its contract says
   */
  complete(messages: readonly ChatMessage[], options: ChatOptions): Promise<ChatReply>;
  /** Gives back what it holds; not to be used afterwards. */
  dispose(): Promise<void>;
}
