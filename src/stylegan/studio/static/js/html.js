// The small library everything is written with: Preact with tagged templates, no build step.
export {
  html, render, Component, useState, useEffect, useLayoutEffect, useRef, useMemo, useCallback, useErrorBoundary,
} from "../vendor/preact-htm.js";
