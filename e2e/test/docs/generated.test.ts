// The parts of the documents that the code writes are what the code would write now.
import t from 'tap'
import { readText, withBlocks } from '../../src/documents.ts'
import { GENERATED_BLOCKS } from '../../src/generated-blocks.ts'

for (const [path, blocks] of Object.entries(GENERATED_BLOCKS))
  t.test(`${path} is up to date`, async (t) => {
    const text = readText(path)
    t.equal(text, withBlocks(text, blocks), 'otherwise: npm run docs:generate')
  })

t.test('a block replaces what stands between its markers and nothing else', async (t) => {
  const document = 'before\n<!-- generated:a -->\nold\n<!-- /generated:a -->\nafter'
  t.equal(withBlocks(document, { a: 'new\n' }), 'before\n<!-- generated:a -->\n\nnew\n\n<!-- /generated:a -->\nafter')
  t.throws(() => withBlocks(document, { b: '' }), /<!-- generated:b -->/)
})
