/** What is wrong with the document of an engine that its schema accepts; paths begin at the document. */
import { type Engine, PLACEHOLDERS } from '@agent-executor/protocol'
import type { Problem } from './document.ts'

export function engineProblems({ adapter, providers, program, probe }: Engine): Problem[] {
  const problems: Problem[] = []
  const refuse = (path: string, message: string) => problems.push({ path, message })
  if (adapter === 'program') {
    if (program === undefined) refuse('/program', 'is required where adapter is program')
  } else {
    if (program !== undefined) refuse('/program', `means nothing to the adapter ${adapter}`)
    if (providers !== undefined) refuse('/providers', `come with the adapter ${adapter}`)
  }
  const { argv = [], with: added = {}, env = {}, files = [], quarantine = [] } = program ?? {}
  const texts: [path: string, text: string][] = [
    ...argv.map((text, index): [string, string] => [`/program/argv/${index}`, text]),
    ...Object.entries(added).flatMap(([name, more]) =>
      more.map((text, index): [string, string] => [`/program/with/${name}/${index}`, text]),
    ),
    ...Object.entries(env).map(([name, text]): [string, string] => [`/program/env/${name}`, text]),
    ...files.map(({ content }, index): [string, string] => [`/program/files/${index}/content`, content]),
    ...(probe?.argv ?? []).map((text, index): [string, string] => [`/probe/argv/${index}`, text]),
  ]
  for (const [path, text] of texts) {
    if (text.includes('\0')) refuse(path, 'must not contain NUL')
    const unknown = path.startsWith('/probe/') ? undefined : unknownPlaceholder(text)
    if (unknown !== undefined) refuse(path, `names ${unknown}, and there are only ${PLACEHOLDERS.join(', ')}`)
  }
  for (const [path, first] of [
    ['/program/argv/0', argv[0]],
    ['/probe/argv/0', probe?.argv[0]],
  ] as const)
    if (first === '') refuse(path, 'must not be empty: it is the name of the program')
  // A run that says neither would get it empty.
  for (const name of ['model', 'system'] as const)
    for (const [path, text] of texts)
      if (
        !path.startsWith(`/program/with/${name}/`) &&
        !path.startsWith('/probe/') &&
        placeholders(text).includes(name)
      )
        refuse(path, `names ${name}, which belongs into with.${name}: not every run has one`)
  for (const [path, text] of [
    ...files.map((file, index) => [`/program/files/${index}/path`, file.path] as const),
    ...quarantine.map((text, index) => [`/program/quarantine/${index}`, text] as const),
  ])
    if (text.split('/').some((part) => part === '' || part === '.' || part === '..'))
      refuse(path, 'must not have a part that is empty, . or ..')
  return problems
}

const placeholders = (text: string): string[] =>
  [...text.matchAll(/\{\{\s*([A-Za-z]+)\s*\}\}/g)].map(([, name = '']) => name)

const unknownPlaceholder = (text: string): string | undefined =>
  placeholders(text).find((name) => !(PLACEHOLDERS as readonly string[]).includes(name))
