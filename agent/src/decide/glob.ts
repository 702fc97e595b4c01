/**
 * Patterns of paths: `*` and `?` within a part, `[a-z]` and `[!a-z]` for one character of it, `**` for any number of
 * parts; everything else, a leading dot too, means itself. No regular expressions: the names are the sandbox's choice,
 * and a hostile pair of pattern and name would keep one busy for hours. Here it costs pattern times name. Pure.
 */

type Part = '**' | readonly Token[]
type Token = '*' | '?' | { negated: boolean; ranges: readonly (readonly [string, string])[] } | { text: string }

export type Glob = { matches: (path: string) => boolean }

export function globOf(pattern: string): Glob {
  const parts = pattern.split('/').map((part): Part => (part === '**' ? part : tokensOf(part)))
  return {
    matches(path) {
      const names = path.split('/').map((name) => [...name])
      // Which beginnings of the names the parts so far have matched.
      let reached = [true, ...names.map(() => false)]
      for (const part of parts) {
        const next = reached.map(() => false)
        for (const [at, isReached] of reached.entries()) {
          const name = names[at]
          if (part === '**') next[at] = isReached || next[at - 1] === true
          else if (isReached && name !== undefined && matchesPart(part, name)) next[at + 1] = true
        }
        reached = next
      }
      return reached.at(-1) === true
    },
  }
}

function tokensOf(part: string): Token[] {
  const tokens: Token[] = []
  const characters = [...part]
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] as string
    const close = character === '[' ? characters.indexOf(']', at + (characters[at + 1] === '!' ? 3 : 2)) : -1
    if (character === '*' || character === '?') tokens.push(character)
    else if (close > 0) {
      tokens.push(setOf(characters.slice(at + 1, close)))
      at = close
    } else tokens.push({ text: character })
  }
  return tokens
}

function setOf(inside: readonly string[]): Token {
  const negated = inside[0] === '!'
  const characters = negated ? inside.slice(1) : inside
  const ranges: [string, string][] = []
  for (let at = 0; at < characters.length; at++) {
    const from = characters[at] as string
    const isRange = characters[at + 1] === '-' && at + 2 < characters.length
    ranges.push([from, isRange ? (characters[at + 2] as string) : from])
    if (isRange) at += 2
  }
  return { negated, ranges }
}

/** A star takes as little as it can, and more where what follows fails: only the last one ever has to. */
function matchesPart(tokens: readonly Token[], name: readonly string[]): boolean {
  let token = 0
  let at = 0
  let star: { token: number; at: number } | null = null
  while (at < name.length) {
    const here = tokens[token]
    if (here === '*') {
      star = { token, at }
      token += 1
    } else if (here !== undefined && matchesOne(here, name[at] as string)) {
      token += 1
      at += 1
    } else if (star !== null) {
      star.at += 1
      token = star.token + 1
      at = star.at
    } else return false
  }
  return tokens.slice(token).every((left) => left === '*')
}

function matchesOne(token: Exclude<Token, '*'>, character: string): boolean {
  if (token === '?') return true
  if ('text' in token) return token.text === character
  return token.negated !== token.ranges.some(([from, to]) => from <= character && character <= to)
}

/** A pattern of a command as one of whole paths. */
export const absolute = (pattern: string): string => (pattern.startsWith('/') ? pattern : `/workspace/${pattern}`)

/**
 * What `find -path` has to be given so that it finds at least what the pattern matches: what is literal at both ends, and
 * anything between. Its `*` takes slashes too.
 */
export function findPattern(pattern: string): string {
  const first = pattern.search(/[*?[\\]/)
  if (first === -1) return pattern
  const last =
    pattern.length -
    1 -
    [...pattern]
      .reverse()
      .join('')
      .search(/[*?\]\\]/)
  const begin = pattern.slice(0, first)
  const end = /[*?\]\\]/.test(pattern) ? pattern.slice(last + 1) : ''
  // `a/**/b` is `a/b` too.
  return `${begin}*${begin.endsWith('/') && end.startsWith('/') ? end.slice(1) : end}`
}
