/** Files as the database knows them; the promises of `store.ts` hold here too. Contents are not its matter. */
import type { Attempt, Command } from '../lifecycle/command.ts'
import type { KeptArtifact, ListDecision, ListFacts } from '../lifecycle/files.ts'

export type Blob = { sha256: string; bytes: number; lookAtMs: number | null }

export type ArtifactView = {
  command: Command
  /** Null where there is none yet. */
  attempt: Attempt | null
  /** By name. */
  artifacts: KeptArtifact[]
}

export interface FileStore {
  /** Undefined where its content is not there. */
  blob(sha256: string): Promise<Blob | undefined>
  /** A content is there, and stays until `keptUntilMs`, and as long as somebody uses it. */
  addBlob(blob: { sha256: string; bytes: number }, keptUntilMs: number, nowMs: number): Promise<void>
  /** Contents to look at by `nowMs`, and whether somebody uses each. */
  blobsDue(nowMs: number, limit: number): Promise<{ sha256: string; used: boolean }[]>
  /** Those are not looked at again until somebody ceases to use them. */
  keepBlobs(sha256s: readonly string[], nowMs: number): Promise<void>
  /** False where somebody has come to use it. */
  dropBlob(sha256: string, nowMs: number): Promise<boolean>
  /** In order, after `after`. */
  blobs(after: string, limit: number): Promise<string[]>
  /** Its content is not there, and what was made of it is lost. */
  loseBlob(sha256: string): Promise<void>

  /** What is known of an uploader and of the files of an attempt. */
  facts(commandId: string, attempt: number, agentId: string): Promise<ListFacts>
  /** Shows the same to `decide`, and stores what that answers before it resolves. */
  change(
    commandId: string,
    attempt: number,
    agentId: string,
    decide: (facts: ListFacts) => ListDecision,
  ): Promise<ListDecision>
  /** Of an attempt; without a number of the newest that was granted. Undefined where there is no such command or attempt. */
  view(commandId: string, attempt: number | null): Promise<ArtifactView | undefined>
}
