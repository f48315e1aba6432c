var o=class{};export{o as StaticFiles};
