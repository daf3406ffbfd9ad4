// What the browser test asks of JupyterLab; defines `window.course` on the page.
(() => {
  const panel = () => window.jupyterapp?.shell.currentWidget
  const outputs = cell => cell.outputs.toJSON()
  const widget = 'application/vnd.jupyter.widget-view+json'

  const codeCells = () => [...(panel()?.content?.model?.cells ?? [])]
    .filter(cell => cell.type === 'code' && cell.sharedModel.getSource().trim())

  const isIdle = () => panel()?.sessionContext?.session?.kernel?.status === 'idle'

  const errors = () => codeCells().flatMap(cell => outputs(cell)
    .filter(out => out.output_type === 'error').map(out => `cell ${cell.id}: ${out.ename}: ${out.evalue}`))

  const finished = () => isIdle() && (errors().length > 0 || codeCells().every(cell => cell.executionCount !== null))

  const explorers = () => codeCells()
    .filter(cell => outputs(cell).some(out => widget in (out.data ?? {}))).map(cell => cell.id)

  const show = async id => {
    const notebook = panel().content
    const index = notebook.widgets.findIndex(cell => cell.model.id === id)
    notebook.activeCellIndex = index
    await notebook.scrollToItem(index, 'center')
  }

  const ready = () => isIdle() && codeCells().length > 0
  const runAll = () => { window.jupyterapp.commands.execute('notebook:run-all-cells') }
  window.course = {ready, runAll, finished, errors, explorers, show}
})()
