/**
 * What is kept of the files that attempts leave, and how long contents are. Pure. Files are evidence of their attempt:
 * whether that is current makes no difference, and they decide nothing.
 */
import {
  ARTIFACTS_MAX,
  type Artifact,
  type ArtifactList,
  type ArtifactState,
  type JsonValue,
  type LogUploader,
} from '@agent-executor/protocol'
import type { Command } from './command.ts'
import { type LogRefusal, type UploadFacts, uploadRefusal } from './logs.ts'

/** `stored`: its content is there. */
export type KeptArtifact = Artifact & { lost: boolean; stored: boolean }

export type ListFacts = UploadFacts & {
  /** Of the attempt. */
  kept: readonly KeptArtifact[]
  /** Whether a content is there, whoever brought it. */
  has: (sha256: string) => boolean
}

export type ListDecision = {
  answer: { ok: true; wanted: string[] } | LogRefusal
  save: (Artifact & { lost: boolean })[]
}

/** What came first stands: a repetition can only say that something is lost. Beyond `bytesMax` nothing is kept. */
export function takeList(
  facts: ListFacts,
  uploader: LogUploader,
  { artifacts }: ArtifactList,
  bytesMax: number,
): ListDecision {
  const refusal = uploadRefusal(facts, uploader)
  if (refusal !== null) return { answer: refusal, save: [] }
  const all = new Map<string, Artifact & { lost: boolean }>(facts.kept.map((each) => [each.name, each]))
  let keptBytes = facts.kept.reduce((sum, { bytes, lost }) => sum + (lost ? 0 : bytes), 0)
  const save: ListDecision['save'] = []
  for (const { name, bytes, sha256, lost } of artifacts) {
    const known = all.get(name)
    if (known !== undefined ? known.lost || !lost : all.size >= ARTIFACTS_MAX) continue
    const isLost = lost || (known === undefined && keptBytes + bytes > bytesMax)
    if (known === undefined && !isLost) keptBytes += bytes
    const saved = { name, bytes: known?.bytes ?? bytes, sha256: known?.sha256 ?? sha256, lost: isLost }
    all.set(name, saved)
    save.push(saved)
  }
  const wanted = [...all.values()].filter(({ sha256, lost }) => !lost && !facts.has(sha256))
  return { answer: { ok: true, wanted: [...new Set(wanted.map(({ sha256 }) => sha256))] }, save }
}

/** Why a content is not taken from this uploader, or null. */
export function blobRefusal(
  facts: ListFacts,
  uploader: LogUploader,
  { sha256, bytes }: { sha256: string; bytes: number },
): LogRefusal | null {
  const refusal = uploadRefusal(facts, uploader)
  if (refusal !== null) return refusal
  if (facts.kept.some((each) => each.sha256 === sha256 && each.bytes === bytes && !each.lost)) return null
  return { ok: false, code: 'ARTIFACT_NOT_FOUND', message: `No file of ${bytes} bytes with this SHA-256 is awaited.` }
}

/** As it is shown. */
export const stateOf = ({ lost, stored }: Pick<KeptArtifact, 'lost' | 'stored'>): ArtifactState =>
  stored ? 'stored' : lost ? 'lost' : 'pending'

/** What the result of a command names; of an agent that has told nothing else yet. */
export function namedInResult(result: JsonValue): Artifact[] {
  const named = typeof result === 'object' && result !== null && !Array.isArray(result) ? result.artifacts : null
  if (!Array.isArray(named)) return []
  return named.flatMap((each) => {
    const { name, bytes, sha256 } = (each ?? {}) as Record<string, unknown>
    const fits = typeof name === 'string' && Number.isSafeInteger(bytes) && /^[0-9a-f]{64}$/.test(String(sha256))
    return fits ? [{ name, bytes: bytes as number, sha256: sha256 as string }] : []
  })
}

/** The contents that a command brings with it. */
export function uploadsOf({ type, spec }: Pick<Command, 'type' | 'spec'>): readonly string[] {
  if (type !== 'RUN_AGENT') return NONE
  const { files = [] } = spec.payload as { files?: { upload?: string }[] }
  return files.flatMap(({ upload }) => upload ?? [])
}

const NONE: readonly string[] = []
