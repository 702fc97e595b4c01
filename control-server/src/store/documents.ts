/**
 * Profiles, templates and engines as the server sees them, with the promises of `store.ts`: it decides nothing, `decide` is
 * synchronous and pure, and resolved means durable.
 */
import type { DocumentKind, Documents, DocumentVersion } from '../profiles/document.ts'

export interface DocumentStore {
  /** Another number after every change. */
  changeCount(): number

  /** The newest versions, as they were when this was called. */
  newest(): Promise<Documents>

  /** One version, whatever came after it; undefined where there is none. */
  version(kind: DocumentKind, name: string, version: number): Promise<DocumentVersion | undefined>

  /**
   * Shows the newest versions to `decide` and adds the versions that it answers, in one transaction: nobody else's change
   * comes between. Rejects, and adds none, where one of them exists.
   */
  change<Answer>(
    decide: (documents: Documents) => { answer: Answer; added: readonly DocumentVersion[] },
  ): Promise<Answer>
}
