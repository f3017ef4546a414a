/**
 * Starts the page, and starts over when a part of it did not arrive: browsers break off what is
 * under way whenever an interface of their machine comes or goes.
 */
const AGAIN_MS = 2_000;

const styles = document.querySelectorAll('link[rel="stylesheet"]');
try {
  for (const style of styles) {
    if (style instanceof HTMLLinkElement && style.sheet === null) throw new Error(style.href);
  }
  await import('./app.js');
} catch (error) {
  const link = document.getElementById('link');
  if (link !== null) link.textContent = 'did not load, trying again';
  console.warn('the page did not load', error);
  setTimeout(() => {
    location.reload();
  }, AGAIN_MS);
}

export {};
