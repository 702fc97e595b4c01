// Codex.
import t from 'tap'
import { engineCases } from './cases.ts'

await engineCases(t, 'codex')
