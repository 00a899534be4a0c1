import hooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist/**", "node_modules/**", "e2e/**", "dev/**"] },
  ...tseslint.configs.strict,
  hooks.configs.flat["recommended-latest"],
  {
    rules: {
      // Statements are hostile text: they only ever become text nodes.
      "no-restricted-syntax": [
        "error",
        { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "Text from agents must stay text." },
        { selector: "JSXAttribute[name.name='style']", message: "The page's policy blocks inline styles: use a class." },
      ],
    },
  },
);
