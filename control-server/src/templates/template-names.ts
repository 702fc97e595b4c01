/**
 * The variables that a template names and does not make itself. The template language takes what is not there for an
 * empty text; here a name that nobody declares is found before anything is rendered.
 */
import { Template } from '@huggingface/jinja'

/** A part of the parsed template. Its classes are not exported; each part names its type. */
type Part = { type: string; [field: string]: unknown }

/** What every template has. */
const GIVEN: readonly string[] = [
  ...['true', 'false', 'none', 'True', 'False', 'None'],
  ...['range', 'namespace', 'raise_exception', 'strftime_now'],
]

/** Sorted. Throws where the text is no template. */
export function templateNames(text: string): string[] {
  const found = new Set<string>()
  look(new Template(text).parsed, new Set(GIVEN), found)
  return [...found].sort()
}

const isPart = (value: unknown): value is Part => typeof value === 'object' && value !== null && 'type' in value

/** `bound` grows with what is set on the way; a loop, a macro and a call block have one of their own. */
function look(value: unknown, bound: Set<string>, found: Set<string>): void {
  if (Array.isArray(value)) for (const each of value) look(each, bound, found)
  else if (value instanceof Map) for (const pair of value) look(pair, bound, found)
  else if (isPart(value)) lookAt(value, bound, found)
}

function lookAt(part: Part, bound: Set<string>, found: Set<string>): void {
  switch (part.type) {
    case 'Identifier':
      if (!bound.has(part.value as string)) found.add(part.value as string)
      return
    case 'MemberExpression':
      look(part.object, bound, found)
      if (part.computed === true) look(part.property, bound, found)
      return
    case 'FilterExpression':
    case 'FilterStatement':
      look(part.operand ?? part.body, bound, found)
      // The filter's own name is no variable.
      if (isPart(part.filter)) look(part.filter.args, bound, found)
      return
    case 'TestExpression':
      look(part.operand, bound, found)
      return
    case 'KeywordArgumentExpression':
      look(part.value, bound, found)
      return
    case 'Set':
      look([part.value, part.body], bound, found)
      bind(part.assignee, bound)
      return
    case 'For': {
      const own = new Set(bound)
      const { iterable } = part
      // `for x in all if x.good`: only the condition knows x.
      const isSelected = isPart(iterable) && iterable.type === 'SelectExpression'
      look(isSelected ? iterable.lhs : iterable, bound, found)
      bind(part.loopvar, own)
      if (isSelected) look(iterable.test, own, found)
      look([part.body, part.defaultBlock], own.add('loop'), found)
      return
    }
    case 'Macro':
      bind(part.name, bound)
      lookIn(part.args, part.body, new Set(bound).add('caller'), found)
      return
    case 'CallStatement':
      look(part.call, bound, found)
      lookIn(part.callerArgs, part.body, new Set(bound), found)
      return
    default:
      for (const [field, child] of Object.entries(part)) if (field !== 'operator') look(child, bound, found)
  }
}

/** The body of a macro or call block, with its parameters; their defaults may name earlier ones. */
function lookIn(parameters: unknown, body: unknown, own: Set<string>, found: Set<string>): void {
  own.add('varargs').add('kwargs')
  for (const parameter of Array.isArray(parameters) ? parameters : []) {
    if (isPart(parameter) && parameter.type === 'KeywordArgumentExpression') {
      look(parameter.value, own, found)
      bind(parameter.key, own)
    } else bind(parameter, own)
  }
  look(body, own, found)
}

function bind(target: unknown, bound: Set<string>): void {
  if (!isPart(target)) return
  if (target.type === 'Identifier') bound.add(target.value as string)
  else if (target.type === 'TupleLiteral') for (const each of target.value as unknown[]) bind(each, bound)
}
