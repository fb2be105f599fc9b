// Small helpers for building the page without markup in strings.

/** Element `tag` with `properties` (class, dataset, on…, attributes) and children (nodes or text). */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'class') node.className = value;
    else if (name === 'dataset') Object.assign(node.dataset, value);
    else if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Set text only when it changed, so that nothing is laid out again for nothing. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

/** Set a data attribute only when it changed. */
export function mark(node, name, value) {
  if (node.dataset[name] !== value) node.dataset[name] = value;
}

export const byId = (id) => document.getElementById(id);
